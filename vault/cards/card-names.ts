/** What a card is called where one process keeps cards of many merchants, and the order in which cards are locked. */
export const nameOf = ({ merchant_id, card_id }: { merchant_id: string; card_id: string }) =>
  `${merchant_id}|${card_id}`

/** A PSP's refusal of a request, as the connectors tell it. */

export type Refused = { kind: 'rejected'; psp_code: string; message: string; is_config_error?: true }

/** By 401 and 403 a PSP refuses whoever asks, not what is asked for: the account has to be set right. */
export function refused(httpStatus: number, psp_code: string, message: string): Refused {
  return {
    kind: 'rejected',
    psp_code: psp_code.slice(0, 100),
    message: message.slice(0, 500),
    ...((httpStatus === 401 || httpStatus === 403) && { is_config_error: true }),
  }
}

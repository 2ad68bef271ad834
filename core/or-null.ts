import { Type } from 'typebox'

/** A field that is always there, and null where there is nothing to say. */
export const orNull = <Schema extends Parameters<typeof Type.Union>[0][number]>(schema: Schema) =>
  Type.Union([schema, Type.Null()])

/** What several parts of the schema are made of. Part of `schema.ts`. */
import { z } from 'zod';
import { durationPattern } from './duration.ts';

export const dataCenterNamePattern = /^[a-z][a-z0-9]{0,14}$/;

export const duration = (description: string) => z.string().regex(durationPattern).describe(description);
export const dataCenterName = z.string().regex(dataCenterNamePattern);
export const text = z.string().min(1);

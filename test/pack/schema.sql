CREATE TABLE accounts (id text PRIMARY KEY);
CREATE TABLE notes (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  account_id text NOT NULL REFERENCES accounts (id),
  text text NOT NULL
);

CREATE TABLE users (
  id uuid PRIMARY KEY,
  email text NOT NULL UNIQUE
);

CREATE TABLE invitations (
  code text PRIMARY KEY
);

INSERT INTO invitations VALUES ('welcome');

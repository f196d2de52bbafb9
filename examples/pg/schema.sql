CREATE TABLE accounts (
  name text PRIMARY KEY,
  balance integer NOT NULL CHECK (balance >= 0)
);

INSERT INTO accounts VALUES ('ada', 100), ('bob', 0);

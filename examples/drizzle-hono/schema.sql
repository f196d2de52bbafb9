CREATE TABLE orders (
  id uuid PRIMARY KEY,
  amount integer NOT NULL,
  status text NOT NULL DEFAULT 'placed'
);

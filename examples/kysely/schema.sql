CREATE TABLE products (
  sku text PRIMARY KEY,
  stock integer NOT NULL
);

INSERT INTO products VALUES ('tea', 10), ('cups', 4);

CREATE TABLE orders (
  id integer PRIMARY KEY,
  status text NOT NULL DEFAULT 'placed',
  amount integer NOT NULL
);

-- An event for each order that is placed, and for each change of its status, whoever makes it.
CREATE FUNCTION emit_order() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM outbox.emit(
    event_type => 'order.' || NEW.status,
    event_context => json_build_object('orderId', NEW.id, 'amount', NEW.amount, 'actor', current_user),
    environment => coalesce(current_setting('app.environment', true), '')
  );
  RETURN NULL;
END $$;

CREATE TRIGGER order_placed AFTER INSERT ON orders
  FOR EACH ROW EXECUTE FUNCTION emit_order();
CREATE TRIGGER order_changed AFTER UPDATE OF status ON orders
  FOR EACH ROW WHEN (OLD.status IS DISTINCT FROM NEW.status) EXECUTE FUNCTION emit_order();

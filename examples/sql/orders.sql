SET app.environment = 'production';

BEGIN;
INSERT INTO orders (id, amount) VALUES (1, 120), (2, 80);
COMMIT;

-- never happened
BEGIN;
UPDATE orders SET status = 'cancelled' WHERE id = 2;
ROLLBACK;

BEGIN;
UPDATE orders SET status = 'paid' WHERE id = 1;
-- no trigger sees it, but it is part of what happened
SELECT outbox.emit('payment.received', '{"orderId": 1, "method": "transfer"}');
COMMIT;

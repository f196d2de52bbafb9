SELECT
  event_context.orderId::Int32 AS order_id,
  groupArray(event_type) AS story
FROM (SELECT * FROM events ORDER BY lsn, seq)
GROUP BY order_id
ORDER BY order_id

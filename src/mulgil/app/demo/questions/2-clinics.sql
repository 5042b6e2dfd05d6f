-- Which clinics are booked most? Prices that are no number lie in _rescued.
SELECT clinic, district,
       count(*) FILTER (WHERE event = 'clinic_view') AS views,
       count(*) FILTER (WHERE event = 'reservation') AS booked,
       round(100.0 * booked / views, 1)              AS percent,
       round(sum(price_krw) / 1e6, 1)                AS million_krw,
       count(_rescued)                               AS open_price
FROM bronze.web
WHERE clinic IS NOT NULL
GROUP BY clinic, district
ORDER BY booked DESC, clinic
LIMIT 8

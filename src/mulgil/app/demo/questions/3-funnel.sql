-- How far do visits get, and at which step do they end?
WITH visit AS (
  SELECT count_if(event = 'search') > 0      AS searched,
         count_if(event = 'clinic_view') > 0 AS looked,
         count_if(event = 'reservation') > 0 AS booked
  FROM bronze.web
  GROUP BY session_id
), funnel(number, step, visits) AS (
  SELECT 1, 'came',         count(*)           FROM visit UNION ALL
  SELECT 2, 'searched',     count_if(searched) FROM visit UNION ALL
  SELECT 3, 'saw a clinic', count_if(looked)   FROM visit UNION ALL
  SELECT 4, 'booked',       count_if(booked)   FROM visit
)
SELECT step, visits,
       round(100.0 * visits / max(visits) OVER (), 1)     AS percent,
       round(100.0 * visits / lag(visits) OVER steps, 1)  AS of_step_before
FROM funnel
WINDOW steps AS (ORDER BY number)
ORDER BY number

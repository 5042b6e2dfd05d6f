-- Where and when are clinics searched for? By time of day in Korea.
WITH search AS (
  SELECT district, hour(event_time + INTERVAL 9 HOUR) AS korean_hour
  FROM bronze.web
  WHERE event = 'search'
)
SELECT district,
       count_if(korean_hour < 6)               AS "0-6",
       count_if(korean_hour BETWEEN 6 AND 8)   AS "6-9",
       count_if(korean_hour BETWEEN 9 AND 11)  AS "9-12",
       count_if(korean_hour BETWEEN 12 AND 14) AS "12-15",
       count_if(korean_hour BETWEEN 15 AND 17) AS "15-18",
       count_if(korean_hour BETWEEN 18 AND 20) AS "18-21",
       count_if(korean_hour >= 21)             AS "21-24",
       printf('%02d:00', mode(korean_hour))    AS busiest
FROM search
GROUP BY district
ORDER BY count(*) DESC

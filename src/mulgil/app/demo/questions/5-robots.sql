-- Who reads the clinics' pages? The log, less the events: robots send none.
WITH requests AS (
  SELECT path, count(*) AS requests, avg(bytes) AS page_bytes,
         count_if(user_agent LIKE '%Bot%') AS open_robots
  FROM bronze.access
  WHERE path LIKE '/clinic/%' AND status = 200
  GROUP BY path
), views AS (
  SELECT path, any_value(clinic) AS clinic, count(*) AS people
  FROM bronze.web
  WHERE event = 'clinic_view'
  GROUP BY path
)
SELECT clinic, requests, people, open_robots,
       requests - people - open_robots                  AS hidden_robots,
       round((requests - people) * page_bytes / 1e6, 1) AS robots_mb
FROM requests JOIN views USING (path)
ORDER BY hidden_robots DESC, clinic
LIMIT 8

-- Which pages answer how, and what do they weigh? From the access log.
SELECT '/' || split_part(split_part(path, '?', 1), '/', 2) AS page,
       count(*)                               AS requests,
       count(*) FILTER (WHERE status < 300)   AS ok,
       count(*) FILTER (WHERE status = 304)   AS unchanged,
       count(*) FILTER (WHERE status = 404)   AS missing,
       count(*) FILTER (WHERE status >= 500)  AS failed,
       round(sum(bytes) / 1e6, 1)             AS mb
FROM bronze.access
GROUP BY page
ORDER BY requests DESC

-- One connection pool, one request after another, each with the next of the cookies in the file COOKIES (from line FIRST).
-- Prints a line of JSON at the end: wrk's own summary is for people.
local cookies = {}
local at = tonumber(os.getenv("FIRST") or "0")

local head = "GET /products/42 HTTP/1.1\r\nHost: ny.shop.localhost\r\n"
  .. "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n"
  .. "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n"
  .. "Accept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br\r\n"
  .. "Sec-Fetch-Mode: navigate\r\nReferer: http://ny.shop.localhost/products\r\nCookie: "

function init(args)
  for line in io.lines(os.getenv("COOKIES")) do cookies[#cookies + 1] = line end
end

function request()
  at = at % #cookies + 1
  return head .. cookies[at] .. "\r\n\r\n"
end

function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    '\n{"requests":%d,"seconds":%.3f,"p50Us":%d,"p99Us":%d,"errors":%d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50), latency:percentile(99),
    e.connect + e.read + e.write + e.status + e.timeout))
end

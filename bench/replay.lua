-- Sends prepared requests, all of one length, so that wrk itself costs little.
-- Arguments: the file, a request's bytes, and "once" (in order, each one time) or
-- "random". Made for one thread. A whole request is returned, headers included.
local threads = {}

function setup(thread)
  table.insert(threads, thread)
end

function init(args)
  bytes = tonumber(args[2])
  exhausted = 0
  local file = assert(io.open(args[1], "rb"))
  if args[3] == "random" then
    all = file:read("*a")
    count = #all / bytes
    math.randomseed(os.time())
    request = random
  else
    file:setvbuf("full", 4 * 1024 * 1024)
    prepared = file
    last = nil
    request = in_order
  end
end

function random()
  local start = math.random(0, count - 1) * bytes
  return all:sub(start + 1, start + bytes)
end

function in_order()
  local found = prepared:read(bytes)
  if found == nil then
    exhausted = exhausted + 1
    wrk.thread:stop()
    return last
  end
  last = found
  return found
end

-- wrk looks for this name when it loads the script; init() replaces it.
function request()
  error("init was not called")
end

function done(summary, latency, requests)
  local ran_out = 0
  for _, thread in ipairs(threads) do
    ran_out = ran_out + thread:get("exhausted")
  end
  local e = summary.errors
  print(string.format(
    'RESULT {"requests": %d, "seconds": %f, "status": %d, "socket": %d, '
    .. '"median_ms": %f, "p99_ms": %f, "exhausted": %d}',
    summary.requests, summary.duration / 1e6, e.status,
    e.connect + e.read + e.write + e.timeout,
    latency:percentile(50) / 1000, latency:percentile(99) / 1000, ran_out))
end

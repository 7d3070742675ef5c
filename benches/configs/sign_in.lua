-- Complete sign-ins by the API, for wrk: each user asks for a code once and types it. Whichever connection is free takes
-- the next step, so that hundreds are under way at once.
--
--   wrk -t1 -c256 -d20s -s sign_in.lua http://127.0.0.1:PORT -- FIRST-USER CODE

verified, refused, last_error = 0, 0, ""
local threads, waiting, head, tail = {}, {}, 1, 0
local fields = { ["content-type"] = "application/json" }

function setup(thread)
  table.insert(threads, thread)
end

function init(args)
  user, code = tonumber(args[1]), args[2]
end

-- The same as number() of stores.py.
local function number(n)
  return string.format("+1415%07d", 2000000 + (n * 12347) % 8000000)
end

function request()
  if head <= tail then
    local id = waiting[head]
    waiting[head] = nil
    head = head + 1
    local body = '{"requestId":"' .. id .. '","code":"' .. code .. '"}'
    return wrk.format("POST", "/.vestibule/api/otp/verify", fields, body)
  end
  user = user + 1
  return wrk.format("POST", "/.vestibule/api/otp/request", fields, '{"phoneNumber":"' .. number(user - 1) .. '"}')
end

function response(status, _, body)
  local id = body:match('"requestId":"([^"]+)"')
  if id then
    tail = tail + 1
    waiting[tail] = id
  elseif status == 200 then
    verified = verified + 1
  else
    refused = refused + 1
    last_error = status .. " " .. body
  end
end

function done(_, latency, _)
  for _, thread in ipairs(threads) do
    local figures = { thread:get("verified"), thread:get("refused"), latency:percentile(50) / 1000,
                      latency:percentile(99) / 1000, thread:get("last_error") }
    print("figures " .. table.concat(figures, " "))
  end
end

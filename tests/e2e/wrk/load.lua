-- What wrk sends, and what it says of the answers: wrk ... URL -- KIND EXPERIMENT LOGINS RUNS
-- LOGINS and RUNS are files with a line for each; a request takes one of them at random.

local experiment, logins, runs
local sent, base = 0, os.time() * 1000
refused = 0  -- global: done() reads it from another state

local function lines(path)
   local found = {}
   for line in io.lines(path) do found[#found + 1] = line end
   return found
end

local function any(list)
   return list[math.random(#list)]
end

local kinds = {}

function kinds.read()
   return "GET", "/api/2.0/mlflow/experiments/get?experiment_id=" .. experiment
end

function kinds.search()
   local body = '{"experiment_ids": ["%s"], "max_results": 50}'
   return "POST", "/api/2.0/mlflow/runs/search", body:format(experiment)
end

function kinds.batch()
   local metrics = {}
   for i = 1, 10 do
      local metric = '{"key": "m%d", "value": %f, "timestamp": %d, "step": %d}'
      metrics[i] = metric:format(i, math.random(), base + sent, sent)
   end
   local body = '{"run_id": "%s", "metrics": [%s]}'
   return "POST", "/api/2.0/mlflow/runs/log-batch", body:format(any(runs), table.concat(metrics, ", "))
end

local ask

function setup(thread)
   asking = thread
end

function init(words)
   math.randomseed(base)
   ask, experiment = kinds[words[1]], words[2]
   logins, runs = lines(words[3]), lines(words[4])
end

function request()
   sent = sent + 1
   local method, path, body = ask()
   local headers = {["Content-Type"] = "application/json"}
   if #logins > 0 then headers["Authorization"] = any(logins) end
   return wrk.format(method, path, headers, body)
end

function response(status)
   if status ~= 200 then refused = refused + 1 end
end

function done(summary, latency)
   local errors = summary.errors
   local form = '{"answers": %d, "seconds": %f, "p50": %f, "p99": %f, "refused": %d, "broken": %d}\n'
   io.write(form:format(
      summary.requests, summary.duration / 1e6,
      latency:percentile(50) / 1e6, latency:percentile(99) / 1e6,
      asking:get("refused"), errors.connect + errors.read + errors.write + errors.timeout
   ))
end

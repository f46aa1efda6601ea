-- Health of a Target in Argo CD. Argo CD runs the script with the object in obj, without the libraries
-- string, math and os, and before that reports an object that is being deleted as Progressing.
-- A target that is on hold, or whose update failed, is Healthy: a single device must not hold back
-- the sync of all others.
local hs = {status = "Progressing", message = "waits for its first reconcile by Goshawk"}
local status = obj.status
if type(status) ~= "table" or type(status.conditions) ~= "table" then
  return hs
end
if status.observedGeneration ~= obj.metadata.generation then
  hs.message = "waits until Goshawk has reconciled the last change"
  return hs
end
local conditions = {}
for _, c in ipairs(status.conditions) do
  if type(c) == "table" and type(c.type) == "string" then
    conditions[c.type] = c
  end
end
local function is(name, value)
  return conditions[name] ~= nil and conditions[name].status == value
end
local ready = conditions.Ready
if ready == nil then
  return hs
end
local function text(c)
  if type(c.message) == "string" then
    return c.message
  end
  return "no message"
end
hs.message = text(ready)
if is("Stalled", "True") then
  hs.status = "Degraded"
  hs.message = "Target " .. obj.metadata.name .. ": " .. hs.message
elseif ready.status == "True" and not is("Reconciling", "True") then
  hs.status = "Healthy"
  if is("Assigned", "False") then
    hs.message = text(conditions.Assigned)
  elseif is("Consistent", "False") then
    hs.message = text(conditions.Consistent)
  elseif type(obj.spec) == "table" and obj.spec.hold == true then
    hs.message = "on hold: no update starts until spec.hold is false"
  end
end
return hs

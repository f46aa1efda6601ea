-- Health of a TargetInventory in Argo CD. Argo CD runs the script with the object in obj, without the libraries
-- string, math and os, and before that reports an object that is being deleted as Progressing.
-- A TargetInventory has no spec, so its generation does not change.
local hs = {status = "Progressing", message = "the device has reported no software yet"}
local status = obj.status
if type(status) ~= "table" or type(status.conditions) ~= "table" then
  return hs
end
local conditions = {}
for _, c in ipairs(status.conditions) do
  if type(c) == "table" and type(c.type) == "string" then
    conditions[c.type] = c
  end
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
if conditions.Stalled ~= nil and conditions.Stalled.status == "True" then
  hs.status = "Degraded"
  hs.message = "TargetInventory " .. obj.metadata.name .. ": " .. hs.message
elseif ready.status == "True" then
  hs.status = "Healthy"
end
if conditions.Truncated ~= nil and conditions.Truncated.status == "True" then
  hs.message = hs.message .. "; " .. text(conditions.Truncated)
end
return hs

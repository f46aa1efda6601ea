-- Health of a SoftwareModule in Argo CD. Argo CD runs the script with the object in obj, without the libraries
-- string, math and os, and before that reports an object that is being deleted as Progressing.
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
  hs.message = "SoftwareModule " .. obj.metadata.name .. ": " .. hs.message
elseif ready.status == "True" and not is("Reconciling", "True") then
  hs.status = "Healthy"
end
return hs

-- Health of a DeploymentGroup in Argo CD. Argo CD runs the script with the object in obj, without the libraries
-- string, math and os, and before that reports an object that is being deleted as Progressing.
-- The group is shown below its Rollout, which decides; its state is a copy.
local hs = {status = "Progressing", message = "waits for its Rollout"}
local status = obj.status
if type(status) ~= "table" or type(status.state) ~= "string" then
  return hs
end
if status.state == "Finished" then
  hs.status = "Healthy"
elseif status.state == "Error" then
  hs.status = "Degraded"
elseif status.state == "Ready" or status.state == "Scheduled" then
  hs.status = "Suspended"
end
hs.message = "group " .. tostring(obj.spec.group) .. " is " .. status.state
if status.state == "Error" then
  hs.message = "DeploymentGroup " .. obj.metadata.name .. " has exceeded its error threshold"
end
return hs

package rollout

// Reasons of events: one for each decision.
const (
	EventPlanned        = "Planned"
	EventPlanChanged    = "PlanChanged"
	EventStarted        = "Started"
	EventGroupOpened    = "GroupOpened"
	EventGroupSucceeded = "GroupSucceeded"
	EventGroupFinished  = "GroupFinished"
	EventGroupFailed    = "GroupFailed"
	EventPaused         = "Paused"
	EventResumed        = "Resumed"
	EventAdvanced       = "Advanced"
	EventRetried        = "Retried"
	EventRetryRefused   = "RetryRefused"
	EventSuperseded     = "Superseded"
	EventInvalidated    = "Invalidated"
	EventStopping       = "Stopping"
	EventStopped        = "Stopped"
	EventFinished       = "Finished"
)

// Types of events, as Kubernetes has them.
const (
	normal  = "Normal"
	warning = "Warning"
)

// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Limits that the schema and the rules share. They follow hawkBit's quotas where hawkBit has one.
const (
	// MaxGroups is the largest number of groups of one rollout (hawkBit: 500).
	MaxGroups = 500
	// MaxGroupTargets is the largest number of targets of one group (hawkBit: 20 000).
	MaxGroupTargets = 20000
	// MaxGroupBytes is how many bytes the names of one group may take together, so that a
	// DeploymentGroup stays below etcd's limit.
	MaxGroupBytes = 700 << 10
	// MaxReports is how many reports of one action are counted; further intermediate ones are
	// dropped, final ones always count.
	MaxReports = 1000
	// MaxAttributes is the largest number of attributes of one target (hawkBit: 100).
	MaxAttributes = 100
	// MaxAttributeBytes is how many bytes the attributes of one target may take as JSON.
	MaxAttributeBytes = 8 << 10
	// MaxActionBytes is how many bytes the actions of one target may take together in its status.
	MaxActionBytes = 32 << 10
)

// Cancellation says what happens to an update that a device has already started. Devices that have
// not started never start, whatever the word.
// +kubebuilder:validation:Enum=None;Soft;Force
type Cancellation string

const (
	// CancellationNone lets a device that has started finish.
	CancellationNone Cancellation = "None"
	// CancellationSoft asks the device to cancel. It may refuse, or finish first.
	CancellationSoft Cancellation = "Soft"
	// CancellationForce closes the action at once, without waiting for the device; the cancel stays
	// on offer until the device answers, and the device counts as inconsistent, since nobody knows
	// how far it got.
	CancellationForce Cancellation = "Force"
)

// UpdateType is a word for the device about how urgent an update is. It decides nothing in Goshawk
// (hawkBit: action type).
// +kubebuilder:validation:Enum=Forced;Soft;TimeForced;DownloadOnly
type UpdateType string

const (
	// UpdateTypeForced asks the device to install at once.
	UpdateTypeForced UpdateType = "Forced"
	// UpdateTypeSoft lets the device choose its moment.
	UpdateTypeSoft UpdateType = "Soft"
	// UpdateTypeTimeForced is Soft until forceAt and Forced from then on.
	UpdateTypeTimeForced UpdateType = "TimeForced"
	// UpdateTypeDownloadOnly asks the device to download but not to install; the action finishes
	// when it has downloaded.
	UpdateTypeDownloadOnly UpdateType = "DownloadOnly"
)

// Superseding says what a newer update does to older ones of the same target.
// +kubebuilder:validation:Enum=Replace;Queue
type Superseding string

const (
	// SupersedingReplace lets the newer update replace the older: what has not started is never
	// offered again, what has started is asked to cancel.
	SupersedingReplace Superseding = "Replace"
	// SupersedingQueue wants both: updates go by weight, then the oldest first (Bosch IoT Rollouts:
	// multi-assignment).
	SupersedingQueue Superseding = "Queue"
)

// DeadlineAction says what happens to a target that did not start in time.
// +kubebuilder:validation:Enum=Fail;Skip
type DeadlineAction string

const (
	// DeadlineActionFail counts the target as failed with code StartDeadlineExceeded.
	DeadlineActionFail DeadlineAction = "Fail"
	// DeadlineActionSkip takes the target out of the group, uncounted: an offline device does not
	// look like a bad update.
	DeadlineActionSkip DeadlineAction = "Skip"
)

// Update is what is brought to a device: the same words for a Rollout, an AutoAssignment and a
// single assignment.
// +kubebuilder:validation:XValidation:rule="has(self.forceAt) == (has(self.type) && self.type == 'TimeForced')",message="forceAt goes with type TimeForced, and only with it: give forceAt, or choose another type",fieldPath=".forceAt"
type Update struct {
	// distributionSet names the DistributionSet, in the same namespace, that targets are to run.
	// Required. A missing set is Stalled (ReferenceNotFound) and recovers; an invalidated one never
	// does. Written by the user; frozen once a rollout has started.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	DistributionSet string `json:"distributionSet"`

	// type tells the device how urgent the update is; it decides nothing in Goshawk. Default
	// Forced. Written by the user; on a rollout that has started it may still change from Soft to
	// Forced (hawkBit: action type). To change it back is refused until status.updateType records
	// Forced, and has no effect from then on (Ready=False, reason ForcedIsFinal).
	// +optional
	// +default="Forced"
	Type UpdateType `json:"type,omitempty"`

	// forceAt is when a TimeForced update turns from Soft to Forced. Goes with type TimeForced only
	// (hawkBit: forcetime).
	// +optional
	ForceAt *metav1.Time `json:"forceAt,omitempty"`

	// weight orders updates that are queued for the same target: the higher goes first. 0 to 1000,
	// default 1000 (hawkBit: weight).
	// +optional
	// +default=1000
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000
	Weight *int32 `json:"weight,omitempty"`

	// confirmationRequired asks somebody at the device before it starts (hawkBit: user consent).
	// Default false. A group of a rollout may differ.
	// +optional
	ConfirmationRequired bool `json:"confirmationRequired,omitempty"`

	// maintenanceWindow limits when a device may start. Outside it the device API offers nothing;
	// work started may finish. Absent: any time.
	// +optional
	MaintenanceWindow *MaintenanceWindow `json:"maintenanceWindow,omitempty"`

	// superseding says what this update does to older ones of the same target. Default Replace.
	// +optional
	// +default="Replace"
	Superseding Superseding `json:"superseding,omitempty"`

	// reinstall also updates targets that already run the set. Default false: they count as
	// succeeded when their group opens.
	// +optional
	Reinstall bool `json:"reinstall,omitempty"`

	// startDeadlineSeconds is how long a target may stay in an open group without start; pauses and
	// closed windows are not counted. Then startDeadlineAction is taken, with code
	// StartDeadlineExceeded. One that failed and has another attempt gets as long for it, from when
	// the attempt is due; then it has failed, with the code of its last attempt. Rollouts only. 1
	// to 31536000 seconds; absent: for ever.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=31536000
	StartDeadlineSeconds *int32 `json:"startDeadlineSeconds,omitempty"`

	// startDeadlineAction says what happens when startDeadlineSeconds have passed. Default Fail.
	// +optional
	// +default="Fail"
	StartDeadlineAction DeadlineAction `json:"startDeadlineAction,omitempty"`

	// progressDeadlineSeconds is how long a target that has started may take to report a result.
	// Then the action is failed with code ProgressDeadlineExceeded. 1 to 31536000 seconds; absent:
	// for ever.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=31536000
	ProgressDeadlineSeconds *int32 `json:"progressDeadlineSeconds,omitempty"`

	// cancelDeadlineSeconds is how long a device may leave a cancel unanswered. Then the action is
	// Canceled and the target inconsistent, so that a silent device does not block the next update
	// for ever. 1 to 31536000 seconds; absent: for ever.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=31536000
	CancelDeadlineSeconds *int32 `json:"cancelDeadlineSeconds,omitempty"`

	// retries says how often, and after which failures, a target is tried again by itself. Absent:
	// never.
	// +optional
	Retries *Retries `json:"retries,omitempty"`
}

// MaintenanceWindow is a repeating time in which devices may start.
type MaintenanceWindow struct {
	// schedule is when a window opens: a cron expression of five fields (minute, hour, day of
	// month, month, day of week) as Kubernetes' CronJob takes it, without a time zone of its own:
	// minute 0 to 59, hour 0 to 23, day 1 to 31, month 1 to 12 or JAN, weekday 0 to 6 or SUN.
	// +required
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:XValidation:rule="self.matches('^([*?]|[0-5]?[0-9](-[0-5]?[0-9])?)(/0*[1-9][0-9]*)?(,([*?]|[0-5]?[0-9](-[0-5]?[0-9])?)(/0*[1-9][0-9]*)?)* +([*?]|([01]?[0-9]|2[0-3])(-([01]?[0-9]|2[0-3]))?)(/0*[1-9][0-9]*)?(,([*?]|([01]?[0-9]|2[0-3])(-([01]?[0-9]|2[0-3]))?)(/0*[1-9][0-9]*)?)* +([*?]|(0?[1-9]|[12][0-9]|3[01])(-(0?[1-9]|[12][0-9]|3[01]))?)(/0*[1-9][0-9]*)?(,([*?]|(0?[1-9]|[12][0-9]|3[01])(-(0?[1-9]|[12][0-9]|3[01]))?)(/0*[1-9][0-9]*)?)* +([*?]|(0?[1-9]|1[0-2]|(?i:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec))(-(0?[1-9]|1[0-2]|(?i:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)))?)(/0*[1-9][0-9]*)?(,([*?]|(0?[1-9]|1[0-2]|(?i:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec))(-(0?[1-9]|1[0-2]|(?i:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)))?)(/0*[1-9][0-9]*)?)* +([*?]|(0?[0-6]|(?i:sun|mon|tue|wed|thu|fri|sat))(-(0?[0-6]|(?i:sun|mon|tue|wed|thu|fri|sat)))?)(/0*[1-9][0-9]*)?(,([*?]|(0?[0-6]|(?i:sun|mon|tue|wed|thu|fri|sat))(-(0?[0-6]|(?i:sun|mon|tue|wed|thu|fri|sat)))?)(/0*[1-9][0-9]*)?)*$')",message="schedule must be a cron expression of five fields, such as '0 2 * * *'; the time zone goes into timeZone"
	Schedule string `json:"schedule"`

	// durationSeconds is how long the window stays open. 60 to 604800 seconds.
	// +required
	// +kubebuilder:validation:Minimum=60
	// +kubebuilder:validation:Maximum=604800
	DurationSeconds int32 `json:"durationSeconds"`

	// timeZone is the name of the time zone that schedule is read in, from the IANA database.
	// Default UTC.
	// +optional
	// +default="UTC"
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="self == 'UTC' || self.matches('^[A-Za-z]+(/[A-Za-z0-9_+-]+){1,2}$')",message="timeZone must be a name of the IANA database, such as Europe/Berlin, or UTC"
	TimeZone string `json:"timeZone,omitempty"`
}

// Retries says how a failed target is tried again.
type Retries struct {
	// limit is how many further attempts a target gets. 1 to 10.
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=10
	Limit int32 `json:"limit"`

	// backoffSeconds is the pause before the next attempt. 0 to 604800 seconds, default 600.
	// +optional
	// +default=600
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=604800
	BackoffSeconds *int32 `json:"backoffSeconds,omitempty"`

	// statusCodes limits retries to failures with one of these codes, or one of messages. Absent:
	// any code, unless messages is given. At most 50.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=50
	// +kubebuilder:validation:items:MaxLength=64
	StatusCodes []string `json:"statusCodes,omitempty"`

	// messages limits retries to failures without a code whose message, as
	// status.failures[].message of a Rollout writes it, is one of these, or that have one of
	// statusCodes. Absent: any message, unless statusCodes is given. At most 50.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=50
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=256
	// +kubebuilder:validation:XValidation:rule="self.all(m, !m.matches('[0-9]'))",message="messages must be copied from status.failures[].message of the Rollout, where a number is written <n>"
	Messages []string `json:"messages,omitempty"`
}

// TargetSelector selects Targets by their labels: a metav1.LabelSelector with bounds.
type TargetSelector struct {
	// matchLabels must all be present with these values. At most 64.
	// +optional
	// +kubebuilder:validation:MaxProperties=64
	MatchLabels map[string]LabelValue `json:"matchLabels,omitempty"`

	// matchExpressions must all hold. At most 64.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	MatchExpressions []TargetSelectorRequirement `json:"matchExpressions,omitempty"`
}

// LabelValue is the value of a label: empty, or letters, digits, dashes, dots and underscores, with
// a letter or digit at both ends.
// +kubebuilder:validation:MaxLength=63
// +kubebuilder:validation:Pattern=`^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$`
type LabelValue string

// TargetSelectorRequirement is one requirement on a label.
// +kubebuilder:validation:XValidation:rule="(self.operator in ['In', 'NotIn']) == (has(self.values) && self.values.size() > 0)",message="values must be given with operator In or NotIn, and left out with Exists or DoesNotExist",fieldPath=".values"
type TargetSelectorRequirement struct {
	// key is the label that is looked at: a name of at most 63 characters, with a DNS name and a
	// slash before it if it has a prefix.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=317
	// +kubebuilder:validation:Pattern=`^([a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$`
	Key string `json:"key"`

	// operator relates the label to values.
	// +required
	Operator LabelSelectorOperator `json:"operator"`

	// values go with In and NotIn, and must be absent with Exists and DoesNotExist. At most 64.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=64
	Values []LabelValue `json:"values,omitempty"`
}

// LabelSelectorOperator is Kubernetes' word for how a label is compared.
// +kubebuilder:validation:Enum=In;NotIn;Exists;DoesNotExist
type LabelSelectorOperator string

// Selection says which targets are meant: labels and expression must both hold; an absent one holds
// for every target. It is not a type of the API on its own; Rollout, group and AutoAssignment
// inline it.
type Selection struct {
	// targetSelector selects targets by label. Absent: every target of the namespace. Written by
	// the user; frozen once a rollout has started.
	// +optional
	TargetSelector *TargetSelector `json:"targetSelector,omitempty"`

	// targetExpression is a CEL expression over the variable `target` that must be true. It sees
	// name, controllerID, description, address, type, labels, attributes, updateStatus,
	// inconsistent and installed of a target. Absent: true. At most 1024 characters. The
	// API server refuses an open text, a bracket without its counterpart, and single =, & and |;
	// everything else that does not compile is Stalled (InvalidExpression). Frozen once a rollout
	// has started.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule=`self.contains('//') || self.contains('"'+'""') || self.contains("''"+"'") || self.matches(r"""(^|\W)[bB]?[rR]["']""") || self.matches(r"""^([^"'=&|]|"([^"\\]|\\.)*"|'([^'\\]|\\.)*'|[=!<>]=|&&|[|][|])*$""") && (!self.matches(r"""^([^"']|"[^"'()[\]{}]*"|'[^"'()[\]{}]*')*$""") || [['(', ')'], ['[', ']'], ['{', '}']].all(b, self.split(b[0]).size() == self.split(b[1]).size()))`,message="targetExpression is no CEL expression: close every text and bracket, and write == for equal, && for and, || for or"
	TargetExpression string `json:"targetExpression,omitempty"`
}

// MetadataEntry is a free word about a module or set.
type MetadataEntry struct {
	// key names the entry.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	Key string `json:"key"`

	// value is what it says, at most 4000 characters.
	// +optional
	// +kubebuilder:validation:MaxLength=4000
	Value string `json:"value,omitempty"`

	// visibleToDevice sends the entry to the device with every deployment; it then counts as
	// content. Absent: false.
	// +optional
	VisibleToDevice bool `json:"visibleToDevice,omitempty"`
}

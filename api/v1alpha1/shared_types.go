// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"cmp"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Limits that the schema and the rules share. They follow hawkBit's quotas where hawkBit has one.
const (
	// MaxGroups is the largest number of groups of one rollout (hawkBit: 500).
	MaxGroups = 500
	// MaxGroupTargets is the largest number of targets of one group (hawkBit: 20 000).
	MaxGroupTargets = 20000
	// MaxGroupBytes is the maximum number of bytes of the target names of one group, so that a
	// DeploymentGroup stays below the limit of etcd.
	MaxGroupBytes = 700 << 10
	// MaxReports is the maximum number of counted reports of one action. Further intermediate
	// reports are dropped; final reports are always applied.
	MaxReports = 1000
	// MaxAttributes is the largest number of attributes of one target (hawkBit: 100).
	MaxAttributes = 100
	// MaxAttributeBytes is how many bytes the attributes of one target may take as JSON.
	MaxAttributeBytes = 8 << 10
	// MaxActionBytes is the maximum number of bytes of all actions in the status of one target.
	MaxActionBytes = 32 << 10
)

// Cancellation is what happens to an update that a device has already started. Devices that have
// not started never start, with every value.
// +kubebuilder:validation:Enum=None;Soft;Force
type Cancellation string

const (
	// CancellationNone lets a device that has started finish.
	CancellationNone Cancellation = "None"
	// CancellationSoft asks the device to cancel. It may refuse, or finish first.
	CancellationSoft Cancellation = "Soft"
	// CancellationForce closes the action at once, without waiting for the device. The cancel is
	// offered until the device answers, and the target is inconsistent, because it is not known how
	// far the device got.
	CancellationForce Cancellation = "Force"
)

// UpdateType informs the device how urgent an update is. It decides nothing in Goshawk (hawkBit:
// action type).
// +kubebuilder:validation:Enum=Forced;Soft;TimeForced;DownloadOnly
type UpdateType string

const (
	// UpdateTypeForced asks the device to install at once.
	UpdateTypeForced UpdateType = "Forced"
	// UpdateTypeSoft lets the device choose the time.
	UpdateTypeSoft UpdateType = "Soft"
	// UpdateTypeTimeForced is Soft until forceAt and Forced from then on.
	UpdateTypeTimeForced UpdateType = "TimeForced"
	// UpdateTypeDownloadOnly asks the device to download but not to install; the action finishes
	// when it has downloaded.
	UpdateTypeDownloadOnly UpdateType = "DownloadOnly"
)

// Superseding is what a newer update does to older updates of the same target.
// +kubebuilder:validation:Enum=Replace;Queue
type Superseding string

const (
	// SupersedingReplace replaces older updates: they are no longer offered to devices that have
	// not started, and devices that have started are asked to cancel.
	SupersedingReplace Superseding = "Replace"
	// SupersedingQueue keeps older updates: the updates are installed by weight, then the oldest
	// first (Bosch IoT Rollouts: multi-assignment).
	SupersedingQueue Superseding = "Queue"
)

// DeadlineAction is what happens to a target that did not start in time.
// +kubebuilder:validation:Enum=Fail;Skip
type DeadlineAction string

const (
	// DeadlineActionFail counts the target as failed with code StartDeadlineExceeded.
	DeadlineActionFail DeadlineAction = "Fail"
	// DeadlineActionSkip removes the target from the group without counting it as failed, so that
	// an offline device does not look like a bad update.
	DeadlineActionSkip DeadlineAction = "Skip"
)

// Update is the set to install, or the software to remove, and how that is done. A Rollout, an
// AutoAssignment and a single assignment use the same fields.
// +kubebuilder:validation:XValidation:rule="has(self.distributionSet) != has(self.remove)",message="one of distributionSet and remove must be given: distributionSet to install a set, remove to remove software",fieldPath=".distributionSet"
// +kubebuilder:validation:XValidation:rule="!has(self.remove) || !has(self.type) || self.type != 'DownloadOnly'",message="type DownloadOnly does not fit a removal, which downloads nothing: choose Forced, Soft or TimeForced",fieldPath=".type"
// +kubebuilder:validation:XValidation:rule="has(self.forceAt) == (has(self.type) && self.type == 'TimeForced')",message="forceAt goes with type TimeForced, and only with it: give forceAt, or choose another type",fieldPath=".forceAt"
type Update struct {
	// distributionSet is the name of the DistributionSet, in the same namespace, that targets are
	// to run. If it does not exist, the object is Stalled (ReferenceNotFound) until it appears. An
	// invalidated set is never offered again. Exactly one of distributionSet and remove is given.
	// Written by the user; frozen once a rollout has started.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	DistributionSet string `json:"distributionSet,omitempty"`

	// remove is the software that targets are to remove, in place of a set to install. Devices that
	// use SoftwareUpdatable and goshawk-agent can do that; on any other device that uses DDI the
	// action fails with code RemoveNotSupported. A target whose reported inventory has none of the
	// entries counts as succeeded, unless reinstall is true. 1 to 50 entries, with at most 4096
	// bytes in all. Written by the user; frozen once a rollout has started.
	// +optional
	// +listType=map
	// +listMapKey=group
	// +listMapKey=name
	// +listMapKey=version
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=50
	// +kubebuilder:validation:XValidation:rule="self.map(s, size(bytes(s.group)) + size(bytes(s.name)) + size(bytes(s.version)) + (has(s.type) ? size(bytes(s.type)) : 0)).sum() <= 4096",message="the texts of remove take more than 4096 bytes in all: use several updates, with superseding: Queue"
	Remove []SoftwareReference `json:"remove,omitempty"`

	// type informs the device how urgent the update is; it decides nothing in Goshawk. Default
	// Forced. Written by the user. On a rollout that has started it may change from Soft to Forced
	// only (hawkBit: action type). A change back is refused until status.updateType records Forced,
	// and has no effect afterwards (Ready=False, reason ForcedIsFinal).
	// +optional
	// +default="Forced"
	Type UpdateType `json:"type,omitempty"`

	// forceAt is when a TimeForced update changes from Soft to Forced. Required with type
	// TimeForced, refused otherwise (hawkBit: forcetime).
	// +optional
	ForceAt *metav1.Time `json:"forceAt,omitempty"`

	// weight is the priority among updates that are queued for the same target: the highest is
	// installed first. 0 to 1000, default 1000 (hawkBit: weight).
	// +optional
	// +default=1000
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000
	Weight *int32 `json:"weight,omitempty"`

	// confirmationRequired asks a person at the device to agree before the update starts (hawkBit:
	// user consent). Default false. A group of a rollout can override it.
	// +optional
	ConfirmationRequired bool `json:"confirmationRequired,omitempty"`

	// maintenanceWindow limits when a device may start. Outside the window nothing is offered to
	// devices that have not started; started updates may finish. Absent: any time.
	// +optional
	MaintenanceWindow *MaintenanceWindow `json:"maintenanceWindow,omitempty"`

	// superseding is what this update does to older updates of the same target: Replace or Queue.
	// Default Replace.
	// +optional
	// +default="Replace"
	Superseding Superseding `json:"superseding,omitempty"`

	// reinstall also updates targets that already run the set. Default false: they count as
	// succeeded when their group opens.
	// +optional
	Reinstall bool `json:"reinstall,omitempty"`

	// startDeadlineSeconds is how long a target in an open group may take to start; pauses and
	// closed maintenance windows do not count. After that, startDeadlineAction happens with code
	// StartDeadlineExceeded. A further attempt of a failed target has the same time from when the
	// attempt is due; after that the target has failed with the code of its last attempt. For
	// rollouts only. 1 to 31536000 seconds; absent: no limit.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=31536000
	StartDeadlineSeconds *int32 `json:"startDeadlineSeconds,omitempty"`

	// startDeadlineAction is what happens when startDeadlineSeconds have passed: Fail or Skip.
	// Default Fail.
	// +optional
	// +default="Fail"
	StartDeadlineAction DeadlineAction `json:"startDeadlineAction,omitempty"`

	// progressDeadlineSeconds is how long a target that has started may take to report a result.
	// After that, the action fails with code ProgressDeadlineExceeded. 1 to 31536000 seconds;
	// absent: no limit.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=31536000
	ProgressDeadlineSeconds *int32 `json:"progressDeadlineSeconds,omitempty"`

	// cancelDeadlineSeconds is how long a device may take to answer a cancel. After that, the
	// action is Canceled and the target is inconsistent, so that a silent device does not block the
	// next update. 1 to 31536000 seconds; absent: no limit.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=31536000
	CancelDeadlineSeconds *int32 `json:"cancelDeadlineSeconds,omitempty"`

	// finishedWarning is what the result FINISHED_WARNING of a device counts as: Success or
	// Failure. Only SoftwareUpdatable devices report it. The action has warning: true in both
	// cases. Default Success. Actions that exist keep the value they were created with.
	// +optional
	// +default="Success"
	FinishedWarning FinishedWarning `json:"finishedWarning,omitempty"`

	// retries is how often, and after which failures, a target is retried automatically. Absent:
	// never.
	// +optional
	Retries *Retries `json:"retries,omitempty"`
}

// SoftwareReference names software on a device, as the device reports it in its inventory
// (SoftwareUpdatable: DependencyDescription).
type SoftwareReference struct {
	// group is the group of the software, such as org.example. 1 to 256 characters.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:XValidation:rule=`self.matches(r"""^[^\p{C}\p{Zl}\p{Zp}<>&"\\]*$""")`,message=`group must have no control characters and none of < > & " \`
	Group string `json:"group"`

	// name is the name of the software. 1 to 256 characters.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:XValidation:rule=`self.matches(r"""^[^\p{C}\p{Zl}\p{Zp}<>&"\\]*$""")`,message=`name must have no control characters and none of < > & " \`
	Name string `json:"name"`

	// version is the version of the software. 1 to 128 characters.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:XValidation:rule=`self.matches(r"""^[^\p{C}\p{Zl}\p{Zp}<>&"\\]*$""")`,message=`version must have no control characters and none of < > & " \`
	Version string `json:"version"`

	// type is the type of the software, by which the feature of the device is chosen that removes
	// it. Absent: the only feature of the device. A device with several features needs it, and
	// fails with the code NoFeature without it.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule=`self.matches(r"""^[^\p{C}\p{Zl}\p{Zp}<>&"\\]*$""")`,message=`type must have no control characters and none of < > & " \`
	Type string `json:"type,omitempty"`
}

// Subject returns what the update is about, for messages: the name of its set, or a few words about
// what it removes.
func (u *Update) Subject() string { return cmp.Or(RemovalOf(u.Remove), u.DistributionSet) }

// DefaultWeight is the weight of an update that has none: the highest.
const DefaultWeight int32 = 1000

// EffectiveWeight returns weight, or its default.
func (u *Update) EffectiveWeight() int32 { return effectiveWeight(u.Weight) }

func effectiveWeight(weight *int32) int32 {
	if weight == nil {
		return DefaultWeight
	}
	return *weight
}

// IsQueued reports whether the update is queued behind older ones, in place of replacing them.
func (u *Update) IsQueued() bool { return u.Superseding == SupersedingQueue }

// RemovalOf says in a few words what is removed, such as "removal of app 1.2 and 2 more", in at
// most 128 characters. It returns "" for no software.
func RemovalOf(software []SoftwareReference) string {
	if len(software) == 0 {
		return ""
	}
	first := []rune(software[0].Name + " " + software[0].Version)
	if len(first) > maxRemovalName {
		first = append(first[:maxRemovalName-1], '…')
	}
	text := "removal of " + string(first)
	if more := len(software) - 1; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// maxRemovalName is the maximum length of the name and version in the text about a removal.
const maxRemovalName = 100

// FinishedWarning is what a result with a warning counts as.
// +kubebuilder:validation:Enum=Success;Failure
type FinishedWarning string

const (
	// FinishedWarningSuccess counts a result with a warning as a success.
	FinishedWarningSuccess FinishedWarning = "Success"
	// FinishedWarningFailure counts a result with a warning as a failure.
	FinishedWarningFailure FinishedWarning = "Failure"
)

// MaintenanceWindow is a repeating period in which devices may start.
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

	// timeZone is the name of the time zone of schedule, from the IANA database. Default UTC.
	// +optional
	// +default="UTC"
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="self == 'UTC' || self.matches('^[A-Za-z]+(/[A-Za-z0-9_+-]+){1,2}$')",message="timeZone must be a name of the IANA database, such as Europe/Berlin, or UTC"
	TimeZone string `json:"timeZone,omitempty"`
}

// Retries is how failed targets are retried automatically.
type Retries struct {
	// limit is the number of further attempts for each target. 1 to 10.
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=10
	Limit int32 `json:"limit"`

	// backoffSeconds is the time between a failure and the next attempt. 0 to 604800 seconds,
	// default 600.
	// +optional
	// +default=600
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=604800
	BackoffSeconds *int32 `json:"backoffSeconds,omitempty"`

	// statusCodes limits retries to failures with one of these codes, in addition to those that
	// messages lists. Absent: all failures, unless messages is set. At most 50.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=50
	// +kubebuilder:validation:items:MaxLength=64
	StatusCodes []string `json:"statusCodes,omitempty"`

	// messages limits retries to failures without a code whose message, as in
	// status.failures[].message of a Rollout, is one of these, in addition to those that
	// statusCodes lists. Absent: all failures, unless statusCodes is set. At most 50.
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
	// key is the key of the label that is compared: a name of at most 63 characters, with a DNS
	// name and a slash before it if it has a prefix.
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

// LabelSelectorOperator is how a label is compared, as in Kubernetes.
// +kubebuilder:validation:Enum=In;NotIn;Exists;DoesNotExist
type LabelSelectorOperator string

// Selection selects targets: labels and expression must both match; an absent one matches every
// target. It is inlined in Rollout, Group and AutoAssignment.
type Selection struct {
	// targetSelector selects targets by labels. Absent: every target of the namespace. Written by
	// the user; frozen once a rollout has started.
	// +optional
	TargetSelector *TargetSelector `json:"targetSelector,omitempty"`

	// targetExpression is a CEL expression over the variable `target` that must be true. The fields
	// of `target` are name, controllerID, description, address, type, labels, attributes,
	// updateStatus, inconsistent, installed, hold, lastSeen and createdAt, and, from the
	// TargetInventory, the lists software and context, whose entries have feature, group, name,
	// version and type; they are empty for a target that has reported none. semver("1.2.3") and
	// semver("v1.2", true) are versions, with isLessThan, isGreaterThan, compareTo and isSemver, as
	// in Kubernetes. Absent: true. At most 1024 characters. The API server refuses unclosed texts
	// and brackets, and single =, & and |; with any other expression that does not compile the
	// object is Stalled (InvalidExpression). Frozen once a rollout has started.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule=`self.contains('//') || self.contains('"'+'""') || self.contains("''"+"'") || self.matches(r"""(^|\W)[bB]?[rR]["']""") || self.matches(r"""^([^"'=&|]|"([^"\\]|\\.)*"|'([^'\\]|\\.)*'|[=!<>]=|&&|[|][|])*$""")`,message="targetExpression is no CEL expression: close every text, and write == for equal, && for and, || for or"
	// +kubebuilder:validation:XValidation:rule=`self.contains('"'+'""') || self.contains("''"+"'") || !self.matches(r"""^([^"'\\/]|"[\w .:/-]*"|'[\w .:/-]*')*$""") || [['(', ')'], ['[', ']'], ['{', '}']].all(b, self.split(b[0]).size() == self.split(b[1]).size())`,message="targetExpression is no CEL expression: close every bracket"
	TargetExpression string `json:"targetExpression,omitempty"`
}

// MetadataEntry is a key-value pair about a module or set.
type MetadataEntry struct {
	// key is the key of the entry, unique in its list. 1 to 128 characters. It does not start with
	// goshawk-agent., because Goshawk itself sends such keys to devices.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:XValidation:rule="!self.startsWith('goshawk-agent.')",message="key must not start with goshawk-agent.: Goshawk itself sends such keys to devices"
	Key string `json:"key"`

	// value is the value of the entry, at most 4000 characters.
	// +optional
	// +kubebuilder:validation:MaxLength=4000
	Value string `json:"value,omitempty"`

	// visibleToDevice sends the entry to the device with every deployment; the entry is then part
	// of the content. Default false.
	// +optional
	VisibleToDevice bool `json:"visibleToDevice,omitempty"`
}

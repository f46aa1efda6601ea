// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package deviceapitest has a Backend in memory for tests of protocols, and the contract that this
// Backend and the one on Kubernetes both keep.
package deviceapitest

import (
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/deviceapi"
)

// Call is one call of a method of a Backend.
type Call struct {
	Method string
	Device deviceapi.Device
	Args   []any
}

// Backend serves devices from memory. Its actions follow the rules of internal/action, as those of
// the real backend do, and it keeps the contract of Run.
type Backend struct {
	// Tokens are the known devices. They are read with each call.
	Tokens map[deviceapi.Device]string
	// Update is wanted on each device; nil: none. SetUpdate changes it while devices are served.
	Update *Update
	// Sets are the sets that a device may report as installed, in addition to that of Update.
	Sets []Set
	// Starting means that the backend has not read its objects yet.
	Starting bool
	// Now is the clock. Default: a fixed time.
	Now func() time.Time

	// Script replaces all of this. With it, the methods return its values, and keep no state.
	*Script
	// Errors are returned by the methods of these names.
	Errors map[string]error

	mu      sync.Mutex
	calls   []Call
	devices map[deviceapi.Device]*record
	// watched are the functions of Changed, and connections the number of connections by device.
	watched     map[deviceapi.Device][]*func()
	connections map[deviceapi.Device]int
	budgets     *deviceapi.Buckets[deviceapi.Device]
}

// Script is what the methods of a Backend return to a known device, for tests of the translation of
// values that are rare.
type Script struct {
	// Offer is returned by State, Action by Deployment, Installed and Confirmation, Stance by
	// Consent, and Created by ReportInstalled. Module is the only module that Artifacts knows.
	Offer   deviceapi.State
	Action  deviceapi.Deployment
	Stance  deviceapi.Consent
	Module  deviceapi.Module
	Created bool
}

// Update is an update that a user wants on a device.
type Update struct {
	Set
	// Confirm means that it needs a confirmation at the device.
	Confirm bool
	// DownloadOnly means that the device does not install it.
	DownloadOnly bool
	// Soft means that the device decides when it installs the update.
	Soft bool
	// Weight of the update, if it is not 0.
	Weight int32
}

// Set is a distribution set.
type Set struct {
	Name, Version string
	Modules       []deviceapi.Module
	// Metadata is what devices see of the metadata of the set.
	Metadata []deviceapi.Metadata
	// Remove is the software that an update removes, in place of the modules of a set.
	Remove []deviceapi.Software
	// Fault is why the set cannot be deployed, such as "its module os is missing", or "".
	Fault string
}

func (s Set) hash() string { return "content of " + s.Name + " " + s.Version }

// record is what the backend knows about one device.
type record struct {
	status v1alpha1.TargetStatus
	// inventories are the last reports of each feature, by its id.
	inventories map[string]deviceapi.Inventory
	// hasAttributes means that the device has sent its attributes, and attributesAfter is the id of
	// its last successful action before that.
	hasAttributes bool
	// isRequested means that the device was asked for its attributes before a removal.
	isRequested     bool
	attributesAfter int32
}

var _ deviceapi.Backend = (*Backend)(nil)

const (
	firstID      = 100
	pollInterval = 5 * time.Minute
	writeBurst   = 20
	writeEvery   = 10 * time.Second
)

// Calls returns all calls so far, without those of Authorize.
func (b *Backend) Calls() []Call {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]Call(nil), b.calls...)
}

// SetUpdate changes the wanted update; nil: none. An update that devices have started continues.
func (b *Backend) SetUpdate(u *Update) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.Update != nil {
		b.Sets = append(b.Sets, b.Update.Set)
	}
	b.Update = u
	b.wakeAll()
}

// SetErrors changes Errors while devices are served.
func (b *Backend) SetErrors(byMethod map[string]error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.Errors = byMethod
}

// SetToken changes the token of a device; "" deletes the device.
func (b *Backend) SetToken(device deviceapi.Device, token string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.Tokens[device] = token; token == "" {
		delete(b.Tokens, device)
	}
	b.wakeAll()
}

// Connections returns how many connections of a device are recorded now.
func (b *Backend) Connections(device deviceapi.Device) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.connections[device]
}

// Watched returns how many functions are called after a change of a device.
func (b *Backend) Watched(device deviceapi.Device) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.watched[device])
}

// Reported returns the last report about a feature of a device.
func (b *Backend) Reported(device deviceapi.Device, feature string) (deviceapi.Inventory, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	found, ok := b.recordOf(device).inventories[feature]
	return found, ok
}

// StoredAction returns an action of a device as it is stored, or nil if there is none.
func (b *Backend) StoredAction(device deviceapi.Device, id int32) *v1alpha1.Action {
	b.mu.Lock()
	defer b.mu.Unlock()
	return action.ByID(&b.recordOf(device).status, id).DeepCopy()
}

// wakeAll calls every function of Changed. The caller holds the lock.
func (b *Backend) wakeAll() {
	for device := range b.watched {
		b.wake(device)
	}
}

func (b *Backend) wake(device deviceapi.Device) {
	for _, notify := range b.watched[device] {
		(*notify)()
	}
}

// CancelUpdate makes the user cancel Update. A device that has started it is asked to cancel.
func (b *Backend) CancelUpdate(device deviceapi.Device) {
	b.CancelFor(v1alpha1.CauseStopped, device)
}

// CancelFor is CancelUpdate with another cause, for several devices by one change.
func (b *Backend) CancelFor(cause v1alpha1.CancelCause, devices ...deviceapi.Device) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.Update != nil {
		b.Sets, b.Update = append(b.Sets, b.Update.Set), nil
	}
	for _, device := range devices {
		s := &b.recordOf(device).status
		if a := action.Open(s); a != nil {
			action.Cancel(s, a.ID, cause, v1alpha1.CancellationSoft, b.now())
		}
	}
	b.wakeAll()
}

func (b *Backend) now() time.Time {
	if b.Now == nil {
		return time.Date(2026, 11, 2, 6, 1, 0, 0, time.UTC)
	}
	return b.Now()
}

func (b *Backend) recordOf(device deviceapi.Device) *record {
	if b.devices == nil {
		b.devices = map[deviceapi.Device]*record{}
	}
	if b.devices[device] == nil {
		b.devices[device] = &record{status: v1alpha1.TargetStatus{NextActionID: firstID}}
	}
	return b.devices[device]
}

// serve records the call, and processes it if there is no script.
func (b *Backend) serve(method string, device deviceapi.Device, process func(*record) error, args ...any) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.calls = append(b.calls, Call{method, device, args})
	if err := b.Errors[method]; err != nil || b.Script != nil {
		return err
	}
	if b.Starting {
		return deviceapi.Unavailable{RetryAfter: 2 * time.Second}
	}
	if _, isKnown := b.Tokens[device]; !isKnown {
		return deviceapi.ErrNotFound
	}
	r := b.recordOf(device)
	b.confirmByItself(r)
	before := r.status.DeepCopy()
	err := process(r)
	if !reflect.DeepEqual(before, &r.status) {
		b.wake(device)
	}
	return err
}

// write counts a write that the device can cause at any time.
func (b *Backend) write(device deviceapi.Device) error {
	if b.budgets == nil {
		b.budgets = deviceapi.NewBuckets[deviceapi.Device](deviceapi.Rate{PerSecond: 1 / writeEvery.Seconds(), Burst: writeBurst})
	}
	if !b.budgets.Take(device, b.now()) {
		return deviceapi.TooMany{Reason: "this device has changed too much too often", RetryAfter: writeEvery}
	}
	return nil
}

// confirmByItself starts the action that waits for confirmation, if the device confirms by itself.
func (b *Backend) confirmByItself(r *record) {
	if a := action.Open(&r.status); a != nil && a.State == v1alpha1.ActionWaitingForConfirmation && r.status.AutoConfirm != nil {
		action.Apply(&r.status, action.Report{ID: a.ID, Event: action.Confirm, Now: b.now()})
	}
}

// offer is what the device gets now. At most one of the ids is not zero.
type offer struct{ cancel, confirm, deploy int32 }

func (b *Backend) offer(r *record) offer {
	a := action.Open(&r.status)
	switch {
	case a != nil && a.State == v1alpha1.ActionCanceling:
		return offer{cancel: a.ID}
	case a != nil && a.State == v1alpha1.ActionWaitingForConfirmation:
		return offer{confirm: a.ID}
	case a != nil:
		return offer{deploy: a.ID}
	}
	if a := action.PendingCancel(&r.status); a != nil {
		return offer{cancel: a.ID}
	}
	switch u := b.Update; {
	case u == nil, action.Installed(&r.status, u.hash()), action.OfContent(&r.status, u.hash()) != nil:
		return offer{}
	case u.Confirm && r.status.AutoConfirm == nil:
		return offer{confirm: r.status.NextActionID}
	}
	return offer{deploy: r.status.NextActionID}
}

// create creates the action that is offered, and returns it.
func (b *Backend) create(device deviceapi.Device, r *record, confirm bool) (*v1alpha1.Action, error) {
	if err := b.write(device); err != nil {
		return nil, err
	}
	return action.Create(&r.status, b.creation(confirm)), nil
}

func (b *Backend) creation(confirm bool) action.Creation {
	made := action.Creation{DistributionSet: b.Update.Name, ContentHash: b.Update.hash(), Confirm: confirm, Now: b.now()}
	for _, r := range b.Update.Remove {
		made.Remove = append(made.Remove, v1alpha1.SoftwareReference{Group: r.Group, Name: r.Name, Version: r.Version, Type: r.Type})
	}
	if b.Update.DownloadOnly {
		made.Update.Type = v1alpha1.UpdateTypeDownloadOnly
	}
	if b.Update.Soft {
		made.Update.Type = v1alpha1.UpdateTypeSoft
	}
	if b.Update.Weight != 0 {
		made.Update.Weight = &b.Update.Weight
	}
	return made
}

// document returns an action as it is sent to the device.
func (b *Backend) document(a *v1alpha1.Action) deviceapi.Deployment {
	d := deviceapi.Deployment{
		ID: a.ID, Forced: a.Update.Type != v1alpha1.UpdateTypeSoft, DownloadOnly: a.Update.Type == v1alpha1.UpdateTypeDownloadOnly,
		Weight: 1000, Acknowledged: !action.HasNoReport(a),
	}
	if a.Update.Weight != nil {
		d.Weight = *a.Update.Weight
	}
	d.History.State = string(a.State)
	for _, line := range append(slices.Clone(a.Messages), a.Message) {
		if line != "" && !slices.Contains(d.History.Messages, line) {
			d.History.Messages = slices.Insert(d.History.Messages, 0, line)
		}
	}
	for _, set := range b.sets() {
		if set.hash() == a.ContentHash {
			d.Modules, d.Remove, d.Metadata = set.Modules, set.Remove, set.Metadata
		}
	}
	return d
}

func (b *Backend) sets() []Set {
	if b.Update == nil {
		return b.Sets
	}
	return append([]Set{b.Update.Set}, b.Sets...)
}

// apply applies a report, and returns the error for its outcome.
func (b *Backend) apply(r *record, report action.Report) error {
	report.Now = b.now()
	isAwaited := action.AwaitsInstallation(&r.status, report.ID)
	return deviceapi.ErrorOf(action.Apply(&r.status, report), isAwaited)
}

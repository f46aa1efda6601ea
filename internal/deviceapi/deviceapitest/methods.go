// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package deviceapitest

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"
	"time"
	"unicode/utf8"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/deviceapi"
)

// maxAttribute is the maximum length of a name or value of an attribute.
const maxAttribute = 128

// Authorize accepts the devices in Tokens.
func (b *Backend) Authorize(_ context.Context, device deviceapi.Device, credentials deviceapi.Credentials) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.Starting {
		return deviceapi.Unavailable{}
	}
	if known, ok := b.Tokens[device]; !ok || known != credentials.TargetToken {
		return deviceapi.ErrUnauthorized
	}
	return b.Errors["Authorize"]
}

// State returns what the device should do next.
func (b *Backend) State(_ context.Context, device deviceapi.Device, remoteAddr string) (state deviceapi.State, err error) {
	if b.Script != nil {
		state = b.Offer
	}
	err = b.serve("State", device, func(r *record) error {
		o := b.offer(r)
		state = deviceapi.State{Sleep: pollInterval, CancelID: o.cancel, ConfirmID: o.confirm, DeployID: o.deploy,
			WantAttributes: !r.hasAttributes || lastSuccess(r) > r.attributesAfter}
		if o.confirm+o.deploy != 0 {
			state.CacheBuster = "1"
			a := action.Open(&r.status)
			if state.IsRemoval = a != nil && a.Removes() || a == nil && len(b.Update.Remove) > 0; state.IsRemoval {
				state.CanRemove = canRemove(r)
				if !r.hasAttributes && !r.isRequested {
					state.CanRemove, r.isRequested = deviceapi.RemovalUnknown, true
				}
			}
		}
		if r.status.Installed != nil {
			state.InstalledID = r.status.Installed.ActionID
		}
		return nil
	}, remoteAddr)
	return state, err
}

func canRemove(r *record) deviceapi.CanRemove {
	if r.status.Attributes[v1alpha1.AttributeRemoves] == "true" {
		return deviceapi.RemovesSoftware
	}
	return deviceapi.CannotRemove
}

func lastSuccess(r *record) (last int32) {
	for _, a := range r.status.Actions {
		if a.State == v1alpha1.ActionFinished {
			last = max(last, a.ID)
		}
	}
	return last
}

// Deployment returns an open action, and creates it if it is offered.
func (b *Backend) Deployment(_ context.Context, device deviceapi.Device, id int32) (deviceapi.Deployment, error) {
	created := false
	found, err := b.find("Deployment", device, id, func(r *record) (*v1alpha1.Action, error) {
		if a := action.ByID(&r.status, id); a != nil && (a.State == v1alpha1.ActionFinished || a.State == v1alpha1.ActionError) {
			return a, nil
		}
		switch a := action.ByID(&r.status, id); {
		case b.offer(r).deploy != id:
			return nil, deviceapi.ErrNotFound
		case a != nil:
			return a, nil
		}
		a, err := b.create(device, r, false)
		created = err == nil
		return a, err
	})
	found.Created = found.Created || created
	return found, err
}

// Acknowledge records that the device has received the command.
func (b *Backend) Acknowledge(_ context.Context, device deviceapi.Device, id int32, message string) error {
	return b.serve("Acknowledge", device, func(r *record) error {
		switch a := action.ByID(&r.status, id); {
		case a == nil, a.State == v1alpha1.ActionWaitingForConfirmation:
			return deviceapi.ErrNotFound
		case a.State.IsClosed():
			return deviceapi.ErrGone
		case !action.HasNoReport(a):
			return nil
		}
		return b.apply(r, action.Report{ID: id, Event: action.Start, Details: []string{message}})
	}, id, message)
}

// Refuse closes an action that the device cannot carry out, and creates it before if it is only
// offered.
func (b *Backend) Refuse(_ context.Context, device deviceapi.Device, id int32, refusal deviceapi.Refusal) error {
	return b.serve("Refuse", device, func(r *record) error {
		if o := b.offer(r); action.ByID(&r.status, id) == nil && (o.deploy == id || o.confirm == id) {
			action.Create(&r.status, b.creation(false))
		}
		if action.CloseAsRefused(&r.status, id, refusal.Code, refusal.Message, b.now()) {
			return nil
		}
		switch a := action.ByID(&r.status, id); {
		case a == nil, a.State == v1alpha1.ActionWaitingForConfirmation:
			return deviceapi.ErrNotFound
		case a.State.IsClosed():
			return deviceapi.ErrGone
		}
		return deviceapi.ErrNotAllowed
	}, id, refusal)
}

// Preview returns an action as Deployment or Confirmation would, and creates nothing.
func (b *Backend) Preview(_ context.Context, device deviceapi.Device, id int32, isConfirmation bool) (deviceapi.Deployment, error) {
	return b.find("Preview", device, id, func(r *record) (*v1alpha1.Action, error) {
		a, offered := action.ByID(&r.status, id), b.offer(r)
		switch {
		case !isConfirmation && a != nil && (a.State == v1alpha1.ActionFinished || a.State == v1alpha1.ActionError):
			return a, nil
		case isConfirmation && offered.confirm != id, !isConfirmation && offered.deploy != id:
			return nil, deviceapi.ErrNotFound
		case a != nil:
			return a, nil
		}
		return action.Create(r.status.DeepCopy(), b.creation(isConfirmation)), nil
	})
}

// Command returns an action that is stored.
func (b *Backend) Command(_ context.Context, device deviceapi.Device, id int32) (deviceapi.Deployment, error) {
	return b.find("Command", device, id, func(r *record) (*v1alpha1.Action, error) {
		a := action.ByID(&r.status, id)
		if a == nil || a.State == v1alpha1.ActionWaitingForConfirmation {
			return nil, deviceapi.ErrNotFound
		}
		return a, nil
	})
}

// Installed returns a closed action.
func (b *Backend) Installed(_ context.Context, device deviceapi.Device, id int32) (deviceapi.Deployment, error) {
	return b.find("Installed", device, id, func(r *record) (*v1alpha1.Action, error) {
		a := action.ByID(&r.status, id)
		if a == nil || !a.State.IsClosed() || a.State == v1alpha1.ActionCanceled {
			return nil, deviceapi.ErrNotFound
		}
		return a, nil
	})
}

// Confirmation returns an action that waits for confirmation, and creates it if it is offered.
func (b *Backend) Confirmation(_ context.Context, device deviceapi.Device, id int32) (deviceapi.Deployment, error) {
	created := false
	found, err := b.find("Confirmation", device, id, func(r *record) (*v1alpha1.Action, error) {
		switch a := action.ByID(&r.status, id); {
		case b.offer(r).confirm != id:
			return nil, deviceapi.ErrNotFound
		case a != nil:
			return a, nil
		}
		a, err := b.create(device, r, true)
		created = err == nil
		return a, err
	})
	found.Created = found.Created || created
	return found, err
}

func (b *Backend) find(method string, device deviceapi.Device, id int32, find func(*record) (*v1alpha1.Action, error)) (found deviceapi.Deployment, err error) {
	if b.Script != nil {
		found = b.Action
	}
	err = b.serve(method, device, func(r *record) error {
		a, err := find(r)
		if err == nil {
			if found = b.document(a); len(found.Remove) > 0 {
				found.CanRemove = canRemove(r)
			}
		}
		return err
	}, id)
	return found, err
}

// Cancel reports whether the cancel of the action is on offer, or the action is canceled.
func (b *Backend) Cancel(_ context.Context, device deviceapi.Device, id int32) error {
	return b.serve("Cancel", device, func(r *record) error {
		if a := action.ByID(&r.status, id); b.offer(r).cancel != id && (a == nil || a.State != v1alpha1.ActionCanceled) {
			return deviceapi.ErrNotFound
		}
		return nil
	}, id)
}

// PendingCancel returns the action whose cancel is on offer.
func (b *Backend) PendingCancel(device deviceapi.Device) (canceled deviceapi.Deployment, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, isKnown := b.Tokens[device]; !isKnown || b.Script != nil || b.Starting {
		return deviceapi.Deployment{}, false
	}
	r := b.recordOf(device)
	id := b.offer(r).cancel
	if id == 0 {
		return deviceapi.Deployment{}, false
	}
	return b.document(action.ByID(&r.status, id)), true
}

// Report applies a report.
func (b *Backend) Report(_ context.Context, device deviceapi.Device, report action.Report) error {
	return b.serve("Report", device, func(r *record) error {
		a := action.ByID(&r.status, report.ID)
		if a != nil && a.State == v1alpha1.ActionWaitingForConfirmation {
			return deviceapi.ErrNotFound
		}
		if a == nil || a.State.IsClosed() {
			if err := b.write(device); err != nil {
				return err
			}
		}
		return b.apply(r, report)
	}, report)
}

// AnswerCancel applies the answer to a cancel that is on offer.
func (b *Backend) AnswerCancel(_ context.Context, device deviceapi.Device, report action.Report) error {
	return b.serve("AnswerCancel", device, func(r *record) error {
		switch a := action.ByID(&r.status, report.ID); {
		case a == nil:
			return deviceapi.ErrNotFound
		case b.offer(r).cancel != report.ID:
			return deviceapi.ErrNotAllowed
		}
		if report.Event == action.Warn {
			if err := b.write(device); err != nil {
				return err
			}
		}
		return b.apply(r, report)
	}, report)
}

// Consent returns whether the device confirms by itself, and which action waits.
func (b *Backend) Consent(_ context.Context, device deviceapi.Device, remoteAddr string) (consent deviceapi.Consent, err error) {
	if b.Script != nil {
		consent = b.Stance
	}
	err = b.serve("Consent", device, func(r *record) error {
		if auto := r.status.AutoConfirm; auto != nil {
			consent = deviceapi.Consent{Active: true, Initiator: auto.Initiator, Remark: auto.Remark, ActivatedAt: auto.ActivatedAt.Time}
		}
		if consent.ConfirmID = b.offer(r).confirm; consent.ConfirmID != 0 {
			consent.CacheBuster = "1"
		}
		return nil
	}, remoteAddr)
	return consent, err
}

// Confirm applies a confirmation or a denial.
func (b *Backend) Confirm(_ context.Context, device deviceapi.Device, report action.Report) error {
	return b.serve("Confirm", device, func(r *record) error {
		a := action.ByID(&r.status, report.ID)
		if a == nil && b.offer(r).confirm == report.ID {
			var err error
			if a, err = b.create(device, r, true); err != nil {
				return err
			}
		}
		switch {
		case a == nil:
			if err := b.write(device); err != nil {
				return err
			}
		case a.State.IsClosed():
			return deviceapi.ErrGone
		case a.State != v1alpha1.ActionWaitingForConfirmation:
			return deviceapi.ErrNotFound
		case report.Event == action.Deny:
			if err := b.write(device); err != nil {
				return err
			}
		}
		return b.apply(r, report)
	}, report)
}

// ActivateAutoConfirm makes the device confirm by itself.
func (b *Backend) ActivateAutoConfirm(_ context.Context, device deviceapi.Device, auto deviceapi.AutoConfirm) error {
	return b.serve("ActivateAutoConfirm", device, func(r *record) error {
		if r.status.AutoConfirm != nil {
			return deviceapi.ErrConflict
		}
		if err := b.write(device); err != nil {
			return err
		}
		at := metav1.NewTime(b.now().Truncate(time.Second))
		r.status.AutoConfirm = &v1alpha1.AutoConfirmStatus{Active: true, Initiator: auto.Initiator, Remark: auto.Remark, ActivatedAt: &at}
		b.confirmByItself(r)
		return nil
	}, auto)
}

// DeactivateAutoConfirm makes updates wait for confirmation again.
func (b *Backend) DeactivateAutoConfirm(_ context.Context, device deviceapi.Device) error {
	return b.serve("DeactivateAutoConfirm", device, func(r *record) error {
		if r.status.AutoConfirm == nil {
			return nil
		}
		if err := b.write(device); err != nil {
			return err
		}
		r.status.AutoConfirm = nil
		return nil
	})
}

// Attributes stores attributes.
func (b *Backend) Attributes(_ context.Context, device deviceapi.Device, attributes deviceapi.Attributes) error {
	return b.serve("Attributes", device, func(r *record) error {
		next := map[string]v1alpha1.AttributeValue{}
		if attributes.Mode != deviceapi.ReplaceAttributes {
			maps.Copy(next, r.status.Attributes)
		}
		for name, value := range attributes.Values {
			if name == "" || utf8.RuneCountInString(name) > maxAttribute || value != nil && utf8.RuneCountInString(*value) > maxAttribute {
				return deviceapi.BadRequest{Reason: "an attribute has a name or a value that is too long, or no name"}
			}
			if delete(next, name); value != nil && attributes.Mode != deviceapi.RemoveAttributes {
				next[name] = v1alpha1.AttributeValue(*value)
			}
		}
		if len(next) > v1alpha1.MaxAttributes {
			return deviceapi.TooMany{Reason: "the device has too many attributes"}
		}
		if !maps.Equal(next, r.status.Attributes) {
			if err := b.write(device); err != nil {
				return err
			}
		}
		r.status.Attributes, r.hasAttributes, r.attributesAfter = next, true, lastSuccess(r)
		if said := attributes.Values[v1alpha1.AttributeConsistent]; said != nil && attributes.Mode != deviceapi.RemoveAttributes {
			action.ReportConsistency(&r.status, *said, b.now())
		}
		return nil
	}, attributes)
}

// ReportInstalled stores which set the device runs.
func (b *Backend) ReportInstalled(_ context.Context, device deviceapi.Device, name, version string) (created bool, err error) {
	err = b.serve("ReportInstalled", device, func(r *record) error {
		sets := b.sets()
		at := slices.IndexFunc(sets, func(s Set) bool { return s.Name == name && s.Version == version })
		switch {
		case at < 0:
			return deviceapi.ErrNotFound
		case sets[at].Fault != "":
			return deviceapi.BadRequest{Reason: "the set cannot be deployed: " + sets[at].Fault}
		case r.status.Installed != nil && r.status.Installed.ContentHash == sets[at].hash():
			return nil
		}
		if err := b.write(device); err != nil {
			return err
		}
		action.ReportInstalled(&r.status, name, sets[at].hash(), b.now())
		created = true
		return nil
	}, name, version)
	return created || b.Script != nil && b.Created, err
}

// ArtifactFetched records the start of a download.
func (b *Backend) ArtifactFetched(_ context.Context, device deviceapi.Device, moduleID string) error {
	return b.serve("ArtifactFetched", device, func(r *record) error {
		a := action.Open(&r.status)
		if a == nil || !a.State.HasStarted() || a.DownloadSeen {
			return nil
		}
		for _, m := range b.document(a).Modules {
			if m.ID == moduleID {
				return b.apply(r, action.Report{ID: a.ID, Event: action.Download})
			}
		}
		return nil
	}, moduleID)
}

// Artifacts returns a module of the open action or of the installed set.
func (b *Backend) Artifacts(_ context.Context, device deviceapi.Device, moduleID string) (module deviceapi.Module, err error) {
	if b.Script != nil && moduleID != b.Module.ID {
		return module, deviceapi.ErrNotFound
	}
	if b.Script != nil {
		module = b.Module
	}
	err = b.serve("Artifacts", device, func(r *record) error {
		for _, set := range b.sets() {
			at := slices.IndexFunc(set.Modules, func(m deviceapi.Module) bool { return m.ID == moduleID })
			if at >= 0 && action.Brought(&r.status, set.hash()) {
				module = set.Modules[at]
				open := action.Open(&r.status)
				module.Downloading = open != nil && open.DownloadSeen && open.DistributionSet == set.Name
				return nil
			}
		}
		return deviceapi.ErrNotFound
	}, moduleID)
	return module, err
}

// ArtifactFailed records the call.
func (b *Backend) ArtifactFailed(_ context.Context, device deviceapi.Device, moduleID, fileName, reason string) {
	_ = b.serve("ArtifactFailed", device, func(*record) error { return nil }, moduleID, fileName, reason)
}

// Inventory stores the last report about each feature.
func (b *Backend) Inventory(_ context.Context, device deviceapi.Device, inventory deviceapi.Inventory) error {
	return b.serve("Inventory", device, func(r *record) error {
		id := inventory.Feature.ID
		if id == "" && !inventory.ReplacesAll {
			return deviceapi.BadRequest{Reason: "the report has no feature"}
		}
		if r.inventories == nil || inventory.ReplacesAll {
			r.inventories = map[string]deviceapi.Inventory{}
		}
		if _, known := r.inventories[id]; !known && len(r.inventories) == v1alpha1.MaxInventoryFeatures {
			return deviceapi.TooMany{Reason: "the device has too many features"}
		}
		if id == "" {
			return nil
		}
		if inventory.Removed {
			delete(r.inventories, id)
			return nil
		}
		r.inventories[id] = mergedInventory(r.inventories[id], inventory)
		return nil
	}, inventory)
}

// mergedInventory returns what is known about a feature after a report.
func mergedInventory(old, reported deviceapi.Inventory) deviceapi.Inventory {
	f, before := &reported.Feature, &old.Feature
	f.SoftwareModuleType, f.Definition = cmp.Or(f.SoftwareModuleType, before.SoftwareModuleType), cmp.Or(f.Definition, before.Definition)
	f.LastOperation, f.LastFailedOperation = cmp.Or(f.LastOperation, before.LastOperation), cmp.Or(f.LastFailedOperation, before.LastFailedOperation)
	if reported.Installed == nil {
		reported.Installed = old.Installed
	}
	if reported.Context == nil {
		reported.Context = old.Context
	}
	return reported
}

// Features returns the features that the device has reported.
func (b *Backend) Features(_ context.Context, device deviceapi.Device) (features []deviceapi.Feature, err error) {
	err = b.serve("Features", device, func(r *record) error {
		for _, id := range slices.Sorted(maps.Keys(r.inventories)) {
			features = append(features, r.inventories[id].Feature)
		}
		return nil
	})
	return features, err
}

// Changed calls notify after each change.
func (b *Backend) Changed(device deviceapi.Device, notify func()) (stop func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.watched == nil {
		b.watched = map[deviceapi.Device][]*func(){}
	}
	b.watched[device] = append(b.watched[device], &notify)
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.watched[device] = slices.DeleteFunc(b.watched[device], func(other *func()) bool { return other == &notify })
	}
}

// Connected counts the connections of a device.
func (b *Backend) Connected(device deviceapi.Device, _ string) (disconnected func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.connections == nil {
		b.connections = map[deviceapi.Device]int{}
	}
	b.connections[device]++
	return sync.OnceFunc(func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.connections[device]--
	})
}

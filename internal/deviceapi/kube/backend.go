// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package kube is the backend of the device API on the Kubernetes API: it answers polls from
// memory, and writes the start and the result of an action to the Target.
package kube

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/deviceapi"
	"github.com/goshawk-dev/goshawk/internal/fleet"
	"github.com/goshawk-dev/goshawk/internal/offer"
	"github.com/goshawk-dev/goshawk/internal/targetstatus"
)

// seenEvery is the interval at which lastSeen of a device that only polls is written. Up to a tenth
// is added, so that a fleet that was registered on one day does not cause one wave of writes every
// day.
const seenEvery = 24 * time.Hour

// updateTimeout limits one write for a device, including waiting and retries.
const updateTimeout = 20 * time.Second

// unreadablePause is the value of Retry-After for a device whose Target or set cannot be decoded.
const unreadablePause = time.Minute

// Options are the settings of a Backend.
type Options struct {
	// PollInterval is sent to devices, changed by up to a tenth so that a fleet does not poll at
	// the same time.
	PollInterval time.Duration
	// PollIntervals are the intervals of some targets instead of PollInterval, by their labels. If
	// it is nil, all targets have PollInterval.
	PollIntervals *PollIntervals
	// ProgressInterval is how long intermediate reports of a device are buffered before they are
	// written. Results are written at once, together with the buffered reports.
	ProgressInterval time.Duration
	// Replicated is set if several processes serve the same devices. The result of an update may
	// then be received by another process than the reports before it, so a report that changes the
	// meaning of the result is stored at once: see action.IsEvidence.
	Replicated bool
	// InstalledName and InstalledVersion are the names of the attributes by which a device reports
	// its installed set. If they are empty, devices do not report it.
	InstalledName, InstalledVersion string
	// Presence is set if the device API knows which devices have a connection: they are connected
	// by MQTT to this process or, with Replicated, to another one like it.
	Presence bool
	// OfflineAfter is how long after its last connection a device counts as offline. Zero:
	// DefaultOfflineAfter.
	OfflineAfter time.Duration
	// Delivery is that of modules without spec.delivery. Empty means Direct.
	Delivery v1alpha1.Delivery
	// InventoryPrefix is the prefix of attributes that report software: the prefix and then
	// <group>.<name>, with the version as value. If it is empty, no attribute does.
	InventoryPrefix string
	// Reports limits the memory of buffered reports and inventories, over all backends with the
	// same ReportBuffer. If it is nil, the backend has its own.
	Reports *ReportBuffer
	// Registrations limits the Targets that are created for new devices, over all backends with the
	// same RegistrationLimits. If it is nil, the backend has its own.
	Registrations *RegistrationLimits
}

// Backend answers requests of the device API from the caches and writes through targetstatus.Store.
type Backend struct {
	targets *targetstatus.Store
	index   *fleet.Index
	tokens  *tokenDigests
	// accesses decides about all credentials but the tokens of targets, and registrations creates
	// targets by them.
	accesses      *accesses
	registrations *registrations
	live          *liveReads
	events        events.EventRecorder
	now           func() time.Time
	options       Options
	// opened is when this process started to serve devices.
	opened time.Time

	artifactNotes notes

	progress    *progress
	inventories *inventories
	targetLocks *targetLocks
	attribute   *attributeRounds
	budgets     *writeBudgets
	logLimits   logLimits
	watches     *watches
	presence    *presence
}

var _ deviceapi.Backend = (*Backend)(nil)

// New returns a Backend, which serves no device before FollowSecrets. live reads from the API
// server.
func New(store *targetstatus.Store, live client.Reader, recorder events.EventRecorder, options Options) *Backend {
	b := &Backend{
		targets: store, index: store.Index, tokens: newTokenDigests(), live: newLiveReads(live), events: recorder, now: store.Now, options: options, opened: store.Now(),
		progress: newProgress(store.Now, options.Reports), targetLocks: newTargetLocks(), attribute: newAttributeRounds(), budgets: newWriteBudgets(),
		logLimits: newLogLimits(), watches: newWatches(), presence: newPresence(store.Now, options.OfflineAfter),
	}
	b.inventories = newInventories(b.index, store, live, b.progress.buffer)
	b.presence.features = b.Features
	store.Presence = b.presenceOf
	b.accesses = newAccesses(b.now)
	b.registrations = newRegistrations(b.index, b.accesses, live, b.now, options.Registrations)
	b.index.Watch(b.attribute.forget)
	b.index.Watch(b.accesses.count)
	b.index.Watch(b.noteOnlineChanged)
	b.index.WatchConcerns(b.wakeConcerned)
	b.tokens.lost = b.wakeWithToken
	b.accesses.rulesChanged = func(namespace string) { b.wakeRevoked(namespace, nil) }
	return b
}

// FollowSecrets makes the backend follow a cache of the Secrets of TokenSecretType. It must be
// called after NewTokens and before the cache starts. The returned function reports whether the
// tokens of all Secrets are known.
func (b *Backend) FollowSecrets(secrets cache.Informer) (toolscache.InformerSynced, error) {
	synced, err := b.tokens.follow(secrets)
	if err != nil {
		return nil, fmt.Errorf("follow Secrets: %w", err)
	}
	return synced, nil
}

// FollowAccesses makes the backend follow the caches of DeviceAccesses and of the Secrets of
// TokenSecretType, and create the Targets of new devices with writer. It must be called after
// NewAccessStatus and before the caches start. Without it no DeviceAccess has an effect. The
// returned function reports whether all of them are known.
func (b *Backend) FollowAccesses(objects, secrets cache.Informer, writer client.Client) (toolscache.InformerSynced, error) {
	b.registrations.writer = writer
	return b.accesses.follow(objects, secrets)
}

// deviceState is the present state of a device: its target, with all pending changes stored, and
// its offer.
type deviceState struct {
	key   types.NamespacedName
	world offer.World
	offer offer.Offer // of offer.Decide
}

func (s deviceState) target() *v1alpha1.Target { return s.world.Target }

// offers reports whether the offer is this one.
func (s deviceState) offers(kind offer.Kind, id int32) bool {
	return s.offer.Kind == kind && s.offer.ActionID == id
}

// stateOf stores each stop, invalidation, cancel or deadline that applies to the device, and then
// computes the offer.
func (b *Backend) stateOf(ctx context.Context, d deviceapi.Device) (deviceState, error) {
	t, err := b.find(d)
	if err != nil {
		return deviceState{}, err
	}
	s := deviceState{key: client.ObjectKeyFromObject(t), world: b.index.World(t, b.now())}
	if _, pending := offer.ApplyPending(s.world); pending || b.hasUnappliedReport(t) {
		if t, err = b.update(ctx, s.key, decisive, b.applyEarlierReport); err != nil {
			return deviceState{}, err
		}
		s.world = b.index.World(t, b.now())
	}
	s.offer = offer.Decide(s.world)
	return s, nil
}

// fresh is for a request that s does not allow, although another replica may have stored a change
// that allows it: a confirmation, or a cancel. It returns the state after reload.
func (b *Backend) fresh(ctx context.Context, d deviceapi.Device, s deviceState) (deviceState, error) {
	if read, err := b.reload(ctx, s.key); err != nil || !read {
		return s, err
	}
	return b.stateOf(ctx, d)
}

// reload reads a target from the API server if another replica may have changed it, and reports
// whether it did. A read counts for the budget of writes of the device; without budget, nothing is
// read.
func (b *Backend) reload(ctx context.Context, key types.NamespacedName) (bool, error) {
	if !b.options.Replicated || b.budgets.wait(key, b.now()) > 0 {
		return false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, updateTimeout)
	defer cancel()
	if err := b.targets.Reload(ctx, key); err != nil {
		return false, b.logFailed(key, deviceError(err))
	}
	b.budgets.count(key, b.now())
	return true, nil
}

// find returns the target that serves a controllerID, in the newest state that this process knows.
func (b *Backend) find(d deviceapi.Device) (*v1alpha1.Target, error) {
	if !b.index.HasSynced() {
		return nil, deviceapi.Unavailable{RetryAfter: 2 * time.Second}
	}
	t := b.targets.Device(d.Namespace, d.ControllerID)
	switch {
	case t == nil:
		return nil, deviceapi.ErrNotFound
	case t.Unreadable != nil:
		return nil, unreadableTarget(t)
	}
	return t, nil
}

func unreadableTarget(t *v1alpha1.Target) error {
	return deviceapi.Unavailable{Cause: fmt.Errorf("target %s cannot be decoded: %s", t.Name, t.Unreadable.Message), RetryAfter: unreadablePause}
}

// State returns what the device should do next.
func (b *Backend) State(ctx context.Context, d deviceapi.Device, remoteAddr string) (deviceapi.State, error) {
	read := b.recordContact
	if remoteAddr == "" && b.watches.has(d) { // the protocol asks by itself
		read = func(ctx context.Context, d deviceapi.Device, _ string) (deviceState, error) { return b.stateOf(ctx, d) }
	}
	s, err := read(ctx, d, remoteAddr)
	if err != nil {
		return deviceapi.State{}, err
	}
	p := deviceapi.State{Sleep: b.sleep(s.target(), s.offer.OpensAt), WantAttributes: b.attribute.wanted(s.target()), InstalledID: installedID(s.target())}
	if b.watches.has(d) {
		p.NextChange = offer.NextChange(s.world)
	}
	if b.installedUnknown(s.target()) {
		return p, nil
	}
	if p.IsRemoval = s.offer.Set.Removes() && s.offer.Kind != offer.Cancel; p.IsRemoval {
		if p.CanRemove = canRemove(s.target()); p.WantAttributes && len(s.target().Status.Attributes) == 0 && b.attribute.isFirstRequest(s.target()) {
			p.CanRemove = deviceapi.RemovalUnknown
		}
	}
	switch s.offer.Kind {
	case offer.Nothing:
		b.logNothing(s)
	case offer.Cancel:
		p.CancelID = s.offer.ActionID
	case offer.Confirm:
		p.ConfirmID, p.CacheBuster = s.offer.ActionID, cacheBuster(s)
	case offer.Deploy:
		p.DeployID, p.CacheBuster = s.offer.ActionID, cacheBuster(s)
	default:
	}
	return p, nil
}

// installedUnknown reports whether the device should report its installed set but the set is not
// known yet: the device polls for the first time and must send its attributes before it gets an
// offer, or the set that they name has not been reconciled. Otherwise a cluster that is rebuilt
// from Git would update devices again.
func (b *Backend) installedUnknown(t *v1alpha1.Target) bool {
	switch {
	case b.options.InstalledName == "":
		return false
	case len(t.Status.Attributes) == 0:
		return t.Status.LastSeen == nil
	case t.Status.Installed != nil:
		return false
	}
	set := b.namedSet(t.Namespace, t.Status.Attributes)
	return set != nil && set.ContentHash == "" && set.Transient
}

// recordContact is stateOf for a device that only polls. It records the contact.
func (b *Backend) recordContact(ctx context.Context, d deviceapi.Device, remoteAddr string) (deviceState, error) {
	s, err := b.stateOf(ctx, d)
	if err == nil && (mustRecordContact(s.target(), s.world.Now) || b.hasReturned(d, s.target())) {
		err = b.writeContact(ctx, s.key, remoteAddr)
	}
	return s, err
}

// mustRecordContact reports whether a poll must be written: the first one, and one a day.
func mustRecordContact(t *v1alpha1.Target, now time.Time) bool {
	return t.Status.UpdateStatus == "" || t.Status.UpdateStatus == v1alpha1.UpdateStatusUnknown ||
		t.Status.LastSeen == nil || now.Sub(t.Status.LastSeen.Time) >= recordAfter(t)
}

// recordAfter returns how long after lastSeen the next contact is recorded.
func recordAfter(t *v1alpha1.Target) time.Duration {
	return seenEvery + spread(t.ControllerID(), seenEvery/10)
}

// hasReturned reports whether a device polls although its condition says that it has lost its
// connection or, without Options.Presence, that it has a connection without features.
func (b *Backend) hasReturned(d deviceapi.Device, t *v1alpha1.Target) bool {
	online := meta.FindStatusCondition(t.Status.Conditions, v1alpha1.ConditionOnline)
	if online == nil {
		return false
	}
	if !b.options.Presence {
		return online.Reason == v1alpha1.ReasonDisconnected || online.Reason == v1alpha1.ReasonAwaitingFeatures
	}
	c, isKnown := b.presence.get(d)
	return online.Reason == v1alpha1.ReasonDisconnected && !(isKnown && c.open > 0)
}

// writeContact writes lastSeen and the address of the device. If a device has used its budget of
// writes, these writes contain them already.
func (b *Backend) writeContact(ctx context.Context, key types.NamespacedName, remoteAddr string) error {
	_, err := b.update(ctx, key, ordinary, func(w offer.World, status *v1alpha1.TargetStatus) error {
		seen(status, w.Now)
		if remoteAddr != "" {
			status.Address = remoteAddr
		}
		return nil
	})
	if errors.Is(err, deviceapi.ErrTooMany) {
		return nil
	}
	return err
}

// seen sets lastSeen in every write that the device causes.
func seen(status *v1alpha1.TargetStatus, now time.Time) {
	at := metav1.NewTime(now.Truncate(time.Second))
	status.LastSeen = &at
	if status.UpdateStatus == "" || status.UpdateStatus == v1alpha1.UpdateStatusUnknown {
		status.UpdateStatus = v1alpha1.UpdateStatusRegistered
	}
}

const (
	// shortestSleep is the shortest poll interval before a window opens, so that a device with a
	// fast clock does not poll in a loop.
	shortestSleep = 5 * time.Second
	// openingSpread is the time over which the devices that wait for a window are spread after its
	// opening. The schema allows no window shorter than twice that.
	openingSpread = 30 * time.Second
)

// sleep returns the time until the next poll of a device. If a window opens before, the device
// polls soon after that.
func (b *Backend) sleep(t *v1alpha1.Target, opensAt time.Time) time.Duration {
	interval, id := b.options.PollIntervals.of(t, b.options.PollInterval), t.ControllerID()
	usual := usualSleep(id, interval)
	if opensAt.IsZero() {
		return usual
	}
	after := spread(id, min(openingSpread, interval/10+1))
	return min(usual, max(opensAt.Sub(b.now())+after, shortestSleep))
}

// usualSleep changes the interval by up to a tenth, always by the same amount for one device.
func usualSleep(controllerID string, interval time.Duration) time.Duration {
	tenth := interval / 10
	if tenth < time.Second {
		return interval
	}
	return min(interval-tenth+spread(controllerID, 2*tenth), MaxPollInterval)
}

// spread returns a duration below width, always the same for one device.
func spread(controllerID string, width time.Duration) time.Duration {
	h := fnv.New64a()
	h.Write([]byte(controllerID))
	return time.Duration(h.Sum64() % uint64(width))
}

// installedID returns the action that installed what the device runs, if it is still listed.
func installedID(t *v1alpha1.Target) int32 {
	if t.Status.Installed == nil || action.ByID(&t.Status, t.Status.Installed.ActionID) == nil {
		return 0
	}
	return t.Status.Installed.ActionID
}

// deviceWrite is one write for a device.
type deviceWrite struct {
	class writeClass
	// reports are applied first: the buffered ones, which write adds, and then the one that must be
	// stored at once. A report without a time is received at the time of the write.
	reports []action.Report
	// change follows the reports. It may be nil.
	change targetstatus.Change

	// opened is Backend.opened, or zero if no report of the device can be lost: see assumeWork.
	opened time.Time
	// outcomes of the reports.
	outcomes []action.Outcome
	// awaited is true if the last report may be that of an installation after a download.
	awaited bool
	// before is the resource version that was read.
	before string
}

// apply applies the reports and the change. It may be called again after a conflict.
func (w *deviceWrite) apply(world offer.World, status *v1alpha1.TargetStatus) error {
	w.before = world.Target.ResourceVersion
	w.outcomes = make([]action.Outcome, len(w.reports))
	for i, r := range w.reports {
		if r.Now.IsZero() {
			r.Now = world.Now
		}
		w.awaited = action.AwaitsInstallation(status, r.ID)
		assumeWork(status, r, w.opened)
		if w.outcomes[i] = action.Apply(status, r); w.outcomes[i] == action.Closed || w.outcomes[i] == action.Applied {
			seen(status, world.Now)
		}
	}
	if w.change == nil {
		return nil
	}
	return w.change(world, status)
}

// update writes a change of a target after the buffered reports.
func (b *Backend) update(ctx context.Context, key types.NamespacedName, class writeClass, change targetstatus.Change) (*v1alpha1.Target, error) {
	return b.write(ctx, key, &deviceWrite{class: class, change: change})
}

// write writes to a target. The error is TooMany if the write is counted and the device has used up
// its budget.
func (b *Backend) write(ctx context.Context, key types.NamespacedName, w *deviceWrite) (*v1alpha1.Target, error) {
	ctx, cancel := context.WithTimeout(logf.IntoContext(ctx, deviceLog), updateTimeout)
	defer cancel()
	targetLock, err := b.targetLocks.take(ctx, key, w.class.isFirst())
	if err != nil {
		return nil, deviceError(err)
	}
	defer targetLock.release()
	if wait := b.budgets.wait(key, b.now()); w.class.isCounted() && wait > 0 {
		return nil, deviceapi.TooMany{Reason: "this device has changed too much too often; what it sent was not stored. Send it again after the time in Retry-After, and only when it changes", RetryAfter: wait}
	}
	buffered := b.progress.of(key)
	w.reports = slices.Concat(buffered, w.reports)
	if !b.options.Replicated { // else evidence is stored at once
		w.opened = b.opened
	}
	t, err := b.targets.UpdateAs(ctx, w.class.priority(), key, w.apply, targetLock.urgent)
	if t != nil && t.Unreadable != nil {
		return nil, unreadableTarget(t)
	}
	if err != nil {
		return nil, b.logFailed(key, deviceError(err))
	}
	if w.class.isCounted() && t.ResourceVersion != w.before {
		b.budgets.count(key, b.now())
	}
	b.progress.done(key, len(buffered))
	for i, r := range w.reports {
		b.notify(t, r, w.outcomes[i])
	}
	return t, nil
}

// deviceError converts an error of the backend to an error of the device API.
func deviceError(err error) error {
	var bad deviceapi.BadRequest
	switch {
	case errors.Is(err, deviceapi.ErrNotFound), errors.Is(err, deviceapi.ErrGone), errors.Is(err, deviceapi.ErrNotAllowed), errors.Is(err, deviceapi.ErrTooMany),
		errors.Is(err, deviceapi.ErrConflict), errors.As(err, &bad):
		return err
	case apierrors.IsNotFound(err):
		return deviceapi.ErrNotFound
	default:
		return deviceapi.Unavailable{Cause: err}
	}
}

// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/time/rate"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/access"
	"github.com/goshawk-dev/goshawk/internal/deviceapi"
	"github.com/goshawk-dev/goshawk/internal/fleet"
	"github.com/goshawk-dev/goshawk/internal/room"
	"github.com/goshawk-dev/goshawk/internal/text"
)

const (
	// registrationRate and registrationBurst limit the Targets that one process creates.
	registrationRate, registrationBurst = 20, 100
	// maxRegistrations is the number of Targets that are being created at a time.
	maxRegistrations = 8
	// registrationTimeout limits the creation of one Target, until the cache has it.
	registrationTimeout = 5 * time.Second
	// registrationRetry is the value of Retry-After while the rate is used up, and failedRetry
	// after the API server has refused a Target.
	registrationRetry, failedRetry = 5 * time.Second, time.Minute
	// failureTTL is how long the last refusal of the API server stays in the status.
	failureTTL = 10 * time.Minute
	// maxFailure limits its text: an admission webhook may return a long one, and the API server
	// refuses a condition with more than 32 KiB.
	maxFailure = 1024
)

// RegistrationLimits limit the Targets that all backends that share them create. One namespace gets
// at most three quarters, so that devices that register in one do not stop those of others.
type RegistrationLimits struct {
	rate       *rate.Limiter
	namespaces *deviceapi.Buckets[string]
	// underWay has room for the Targets that are being created.
	underWay *room.Room
}

// NewRegistrationLimits returns the limits of a process.
func NewRegistrationLimits() *RegistrationLimits {
	return &RegistrationLimits{
		rate:       rate.NewLimiter(registrationRate, registrationBurst),
		namespaces: deviceapi.NewBuckets[string](deviceapi.Rate{PerSecond: float64(room.ShareOf(registrationRate)), Burst: room.ShareOf(registrationBurst)}),
		underWay:   room.New(maxRegistrations),
	}
}

// start returns the function to call after the creation of another Target, or nil if none may be
// created now.
func (l *RegistrationLimits) start(namespace string, now time.Time) (end func()) {
	end = l.underWay.TryEnter(namespace)
	if end != nil && !(l.namespaces.Take(namespace, now) && l.rate.AllowN(now, 1)) {
		end()
		return nil
	}
	return end
}

// registrations creates Targets for new devices.
type registrations struct {
	index    *fleet.Index
	accesses *accesses
	writer   client.Client // nil: no DeviceAccess is followed
	reader   client.Reader
	now      func() time.Time
	limits   *RegistrationLimits

	mu sync.Mutex
	// underWay are the devices whose Target is being created, by each DeviceAccess.
	underWay map[deviceapi.Device]*registering
	byAccess map[types.NamespacedName]int
	failures map[types.NamespacedName]failure
}

// registering is the creation of the Target of one device.
type registering struct {
	done chan struct{}
	err  error
	// end makes room for another creation.
	end func()
}

// failure is the last refusal of the API server.
type failure struct {
	message string
	at      time.Time
}

func newRegistrations(index *fleet.Index, a *accesses, reader client.Reader, now func() time.Time, limits *RegistrationLimits) *registrations {
	if limits == nil {
		limits = NewRegistrationLimits()
	}
	return &registrations{
		index: index, accesses: a, reader: reader, now: now, limits: limits,
		underWay: map[deviceapi.Device]*registering{}, byAccess: map[types.NamespacedName]int{}, failures: map[types.NamespacedName]failure{},
	}
}

// register creates the Target of a device, and returns when the cache has it. Requests of the same
// device at the same time share one creation. The reason is why the device is refused, or "".
func (r *registrations) register(ctx context.Context, d deviceapi.Device, a *access.Access) (access.Reason, error) {
	by := types.NamespacedName{Namespace: d.Namespace, Name: a.Name}
	mine, isFirst, reason, err := r.start(d, by, a.MaxTargets)
	if reason != "" || err != nil {
		return reason, err
	}
	if isFirst {
		go func() {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), registrationTimeout)
			defer cancel()
			mine.err = r.create(ctx, d, a)
			r.end(d, by)
			close(mine.done)
		}()
	}
	select {
	case <-mine.done:
		return "", mine.err
	case <-ctx.Done():
		return "", deviceapi.Unavailable{Cause: ctx.Err()}
	}
}

// start starts a registration if the bounds allow it, or returns the one that is under way.
func (r *registrations) start(d deviceapi.Device, by types.NamespacedName, most int) (_ *registering, isFirst bool, refused access.Reason, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if present := r.underWay[d]; present != nil {
		return present, false, "", nil
	}
	if r.accesses.registeredBy(by)+r.byAccess[by] >= most {
		return nil, false, access.MaxTargetsReached, nil
	}
	end := r.limits.start(d.Namespace, r.now())
	if end == nil {
		return nil, false, "", deviceapi.Unavailable{RetryAfter: registrationRetry, Cause: errors.New("too many devices are being registered")}
	}
	made := &registering{done: make(chan struct{}), end: end}
	r.underWay[d] = made
	r.byAccess[by]++
	return made, true, "", nil
}

func (r *registrations) end(d deviceapi.Device, by types.NamespacedName) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.underWay[d].end()
	delete(r.underWay, d)
	if r.byAccess[by]--; r.byAccess[by] == 0 {
		delete(r.byAccess, by)
	}
}

// create creates the Target and waits until the index has it.
func (r *registrations) create(ctx context.Context, d deviceapi.Device, a *access.Access) error {
	by := types.NamespacedName{Namespace: d.Namespace, Name: a.Name}
	t := a.NewTarget(d.Namespace, d.ControllerID)
	isCreated, err := r.createAs(ctx, t)
	if errors.Is(err, errNameTaken) && t.Name != access.OtherName(d.ControllerID) {
		t = a.NewTarget(d.Namespace, d.ControllerID)
		t.Name, t.Spec.ControllerID = access.OtherName(d.ControllerID), d.ControllerID
		isCreated, err = r.createAs(ctx, t)
	}
	switch {
	case err != nil && ctx.Err() == nil:
		r.note(by, fmt.Sprintf("the Target of device %.64q cannot be created: %v", d.ControllerID, err))
		return deviceapi.Unavailable{RetryAfter: failedRetry, Cause: fmt.Errorf("register: %w", err)}
	case err != nil:
		return deviceapi.Unavailable{Cause: fmt.Errorf("register: %w", err)}
	case isCreated:
		r.note(by, "")
		deviceLog.Info("Registered a device", "target", client.ObjectKeyFromObject(t), "controllerID", d.ControllerID, "deviceAccess", a.Name)
	}
	for !r.isKnown(d, by, t.Name) {
		select {
		case <-ctx.Done():
			return deviceapi.Unavailable{RetryAfter: registrationRetry, Cause: errors.New("the cache does not have the new Target yet")}
		case <-time.After(10 * time.Millisecond):
		}
	}
	return nil
}

// isKnown reports whether the index has the Target of a device, and whether it is counted if it is
// one of the DeviceAccess, so that it is never missing in the number of registered targets.
func (r *registrations) isKnown(d deviceapi.Device, by types.NamespacedName, name string) bool {
	t := r.index.Device(d.Namespace, d.ControllerID)
	if t == nil {
		return false
	}
	registeredBy, isRegistered := registrant(t)
	return t.Name != name || !isRegistered || registeredBy != by || r.accesses.isCounted(by, name)
}

// errNameTaken is the error if another device has a Target with this name.
var errNameTaken = errors.New("another Target has this name")

// createAs creates a Target, and reports whether it did not exist. A Target of the same device that
// exists already, because another process has created it, is no error.
func (r *registrations) createAs(ctx context.Context, t *v1alpha1.Target) (bool, error) {
	err := r.writer.Create(ctx, t, client.FieldOwner("goshawk-device-api"))
	if !apierrors.IsAlreadyExists(err) {
		return err == nil, err
	}
	present := &v1alpha1.Target{}
	if err := r.reader.Get(ctx, client.ObjectKeyFromObject(t), present); err != nil {
		return false, err
	}
	if present.ControllerID() != t.ControllerID() && !present.Unreadable.Lacks("spec.controllerID") {
		return false, fmt.Errorf("%w: %s, of the device %.64q", errNameTaken, t.Name, present.ControllerID())
	}
	return false, nil
}

// note stores the last failure of a DeviceAccess; "" is a success.
func (r *registrations) note(by types.NamespacedName, message string) {
	r.mu.Lock()
	before, had := r.failures[by]
	if message == "" {
		delete(r.failures, by)
	} else {
		message = text.Clean(message, maxFailure)
		r.failures[by] = failure{message, r.now()}
	}
	r.mu.Unlock()
	if had != (message != "") || before.message != message {
		r.accesses.changed(by)
	}
}

// failureOf returns the last failure of a DeviceAccess, or "".
func (r *registrations) failureOf(by types.NamespacedName) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	last, ok := r.failures[by]
	if ok && r.now().Sub(last.at) >= failureTTL {
		delete(r.failures, by)
		return ""
	}
	return last.message
}

// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package outbox

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/notification"
	"github.com/goshawk-dev/goshawk/internal/notification/webhook"
	"github.com/goshawk-dev/goshawk/internal/text"
)

// failingInterval is the minimum time between two lines of the log about the same failure.
const failingInterval = time.Minute

// endpoint is the present receiver, and how it is doing.
type endpoint struct {
	// sender is nil while there is no usable Secret.
	sender *webhook.Sender
	data   map[string][]byte
	// isGone is true after the receiver has answered 410, until the Secret changes.
	isGone bool
	// holdUntil is until when the receiver does not want to be asked.
	holdUntil time.Time
	// failure is the last error, "" after a success.
	failure   string
	failureAt time.Time
	full      once
}

// why says why events wait.
func (e *endpoint) why() string {
	switch {
	case e.sender == nil:
		return "the Secret with the receiver cannot be used"
	case e.failure != "":
		return e.failure
	}
	return "the receiver is slow"
}

// reload reads the Secret until ctx ends.
func (s *session) reload(ctx context.Context) {
	b, said := s.outbox, ""
	for ctx.Err() == nil {
		data, err := b.secret(ctx)
		if err == nil {
			err = s.use(data)
		}
		switch {
		case ctx.Err() != nil:
		case err == nil:
			said = ""
		case err.Error() != said:
			said = err.Error()
			b.o.Log.Error(err, "The Secret of --notifications-secret cannot be used; the receiver that was read last, if any, is used", "secret", b.o.Secret)
			b.say(corev1.EventTypeWarning, "NotificationsNotConfigured", err.Error())
		}
		pause(ctx, b.o.Timing.Reload)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if s.endpoint.sender != nil {
		s.endpoint.sender.Close()
	}
}

// secret returns the data of the Secret.
func (b *Outbox) secret(ctx context.Context) (map[string][]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	secret := &corev1.Secret{}
	switch err := b.o.Client.Get(ctx, b.o.Secret, secret); {
	case apierrors.IsNotFound(err):
		return nil, fmt.Errorf("Secret %s does not exist: create it, see docs/notifications.md", b.o.Secret) //nolint:staticcheck // a kind is written in upper case
	case apierrors.IsForbidden(err):
		return nil, fmt.Errorf("Secret %s may not be read: grant get on it to the controllers, see docs/notifications.md", b.o.Secret) //nolint:staticcheck // the same
	case err != nil:
		return nil, fmt.Errorf("read Secret %s: %w", b.o.Secret, err)
	}
	return secret.Data, nil
}

// use uses the data of the Secret from now on. Data that cannot be used changes nothing.
func (s *session) use(data map[string][]byte) error {
	b := s.outbox
	b.mu.Lock()
	defer b.mu.Unlock()
	if s.endpoint.sender != nil && reflect.DeepEqual(data, s.endpoint.data) {
		return nil
	}
	parsed, err := webhook.Parse(data)
	if err != nil {
		return fmt.Errorf("Secret %s: %w", b.o.Secret, err) //nolint:staticcheck // a kind is written in upper case
	}
	if s.endpoint.sender != nil {
		s.endpoint.sender.Close()
	}
	s.endpoint.sender, s.endpoint.data = webhook.NewSender(parsed, b.o.Now), data
	s.endpoint.isGone, s.endpoint.holdUntil = false, time.Time{}
	for _, r := range s.waiting {
		r.next = time.Time{}
	}
	b.o.Log.Info("Notifications are sent", "to", s.endpoint.sender.Place(), "pending", s.pending)
	s.wakeUp()
	return nil
}

// failed notes that an attempt has failed: in the log at the first failure, and from time to
// time.
func (s *session) failed(err error, now time.Time) {
	b, e := s.outbox, &s.endpoint
	isNew := e.failure == ""
	e.failure = err.Error()
	if isNew || now.Sub(e.failureAt) >= failingInterval {
		e.failureAt = now
		b.o.Log.Error(err, "A notification was not delivered, and is tried again", "pending", s.pending)
	}
	if isNew {
		b.say(corev1.EventTypeWarning, "NotificationsFailing", e.failure)
	}
}

// recovered notes that the receiver accepts events. Those that wait after a failure are tried soon.
func (s *session) recovered(now time.Time) {
	if s.endpoint.failure == "" {
		return
	}
	s.endpoint.failure = ""
	for _, r := range s.waiting {
		if r.attempts > 0 {
			r.next = now.Add(time.Duration(rand.Float64() * float64(s.outbox.o.Timing.MinRetry)))
		}
	}
	s.outbox.o.Log.Info("The receiver accepts notifications again", "to", s.endpoint.sender.Place(), "pending", s.pending)
	s.outbox.say(corev1.EventTypeNormal, "NotificationsDelivered", "the receiver accepts notifications again")
}

// say records an event of the Secret.
func (b *Outbox) say(eventType, reason, message string) {
	if b.o.Events == nil {
		return
	}
	secret := &corev1.Secret{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"}, ObjectMeta: metav1.ObjectMeta{Namespace: b.o.Secret.Namespace, Name: b.o.Secret.Name}}
	b.o.Events.Eventf(secret, nil, eventType, reason, "Notify", "%s", text.LimitBytes(message, maxNote))
}

// maxNote is the maximum length of the note of an event in bytes.
const maxNote = 1000

// fieldManager returns the field manager that wrote the field of the spec that caused a decision,
// or nil if it is not known. It reads the metadata of the object, because caches do not have it.
func (b *Outbox) fieldManager(ctx context.Context, e *notification.Event) *notification.By {
	if e.Field == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	object := &metav1.PartialObjectMetadata{}
	object.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(e.Data.Kind))
	if err := b.o.Client.Get(ctx, client.ObjectKey{Namespace: e.Data.Namespace, Name: e.Data.Name}, object); err != nil {
		return nil
	}
	return lastWriter(object.GetManagedFields(), e.Field)
}

// lastWriter returns the last manager of a field.
func lastWriter(managed []metav1.ManagedFieldsEntry, field string) *notification.By {
	var found *notification.By
	for _, entry := range managed {
		if entry.FieldsV1 == nil || entry.Time == nil || entry.Subresource != "" || !owns(entry.FieldsV1.GetRawBytes(), strings.Split(field, ".")) {
			continue
		}
		if found == nil || entry.Time.After(found.Time) {
			found = &notification.By{Field: field, Manager: entry.Manager, Time: entry.Time.UTC()}
		}
	}
	return found
}

func owns(fields []byte, path []string) bool {
	for _, name := range path {
		level := map[string]json.RawMessage{}
		if json.Unmarshal(fields, &level) != nil {
			return false
		}
		next, ok := level["f:"+name]
		if !ok {
			return false
		}
		fields = next
	}
	return true
}

// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package restart

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cloudevents/sdk-go/v2/event"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/devicesim"
	"github.com/goshawk-dev/goshawk/internal/manager"
	"github.com/goshawk-dev/goshawk/internal/notification"
	"github.com/goshawk-dev/goshawk/test/world"
)

// receiver accepts CloudEvents, or is down.
type receiver struct {
	mu     sync.Mutex
	isDown bool
	ids    map[string]bool
	events []event.Event
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	e, err := cehttp.NewEventFromHTTPRequest(request)
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.isDown:
		w.WriteHeader(http.StatusServiceUnavailable)
	case err != nil:
		w.WriteHeader(http.StatusBadRequest)
	case !r.ids[e.ID()]:
		r.ids[e.ID()] = true
		r.events = append(r.events, *e)
	}
}

func (r *receiver) setDown(is bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.isDown = is
}

// of returns the decisions about the objects of a kind, and their data.
func (r *receiver) of(kind string) (decisions []string, all []notification.Data) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.events {
		var data notification.Data
		if err := json.Unmarshal(r.events[i].Data(), &data); err != nil || data.Kind != kind {
			continue
		}
		decisions = append(decisions, strings.TrimSpace(data.Decision+" "+data.Group))
		all = append(all, data)
	}
	return decisions, all
}

// The receiver of notifications is down while a rollout pauses. Goshawk ends, the pause is lifted,
// and Goshawk starts again. When the receiver is back, it gets every decision, in order.
func TestNotificationsSurviveARestart(t *testing.T) {
	t.Parallel()
	r := &receiver{ids: map[string]bool{}, isDown: true}
	server := httptest.NewServer(r)
	t.Cleanup(server.Close)
	w, g := newWorld(t, manager.Options{LeaderElect: true, NotificationsSecret: types.NamespacedName{Name: "receiver"}})
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: "receiver"},
		StringData: map[string]string{"url": server.URL, "allowHTTP": "true", "key": "a-key-with-more-than-24-characters"},
	}
	if err := w.Client.Create(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	w.Set("firmware-1", "1.0")
	names := w.Targets("device", 4, nil)
	w.Devices(devicesim.Obedient, names...)
	w.ApplySpec("Rollout", "firmware-1", `{update: {distributionSet: firmware-1}, stabilizationSeconds: 1, groupCount: 2, successThreshold: 100, successAction: Pause}`)
	w.EventuallyRollout("firmware-1", "pauses", world.InState(v1alpha1.RolloutPaused))
	if got, _ := r.of(notification.KindRollout); len(got) > 0 {
		t.Errorf("the receiver that is down has %q", got)
	}
	g.end()
	w.CommitRollout("firmware-1", `{spec: {resumedAt: "`+w.Rollout("firmware-1").Status.PausedAt.UTC().Format("2006-01-02T15:04:05.000000Z")+`"}}`)
	r.setDown(false)
	g.start()
	w.EventuallyRollout("firmware-1", "finishes", world.InState(v1alpha1.RolloutFinished))
	w.Kubectl("patch", "distset", "firmware-1", "--type=merge", "-p", `{"spec":{"invalidation":{"cancellation":"Soft"}}}`)
	for kind, want := range map[string][]string{
		notification.KindRollout: {
			"planned", "started", "groupopened group-1", "groupfinished group-1", "paused", "resumed", "groupopened group-2", "groupfinished group-2", "finished",
		},
		notification.KindDistributionSet: {"locked", "invalidated", "invalidationfinished"},
	} {
		w.Eventually(fmt.Sprintf("%q about a %s", want, kind), func() string {
			if got, _ := r.of(kind); len(got) < len(want) {
				return fmt.Sprintf("the receiver has %q", got)
			}
			return ""
		})
		if got, _ := r.of(kind); !slices.Equal(got, want) {
			t.Errorf("%s: the receiver has %q, want %q", kind, got, want)
		}
	}
	_, all := r.of(notification.KindRollout)
	if paused := all[4]; paused.Reason != v1alpha1.ReasonSuccessActionPause || paused.Targets == nil || paused.Targets.Succeeded != 2 || paused.Groups.Opened != 1 || paused.PlanHash == "" {
		t.Errorf("paused: %+v", paused)
	}
	if resumed := all[5]; resumed.By == nil || resumed.By.Field != "spec.resumedAt" || resumed.By.Manager == "" {
		t.Errorf("resumed by %+v", resumed.By)
	}
}

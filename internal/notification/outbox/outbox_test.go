// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package outbox

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/testing/build"
	"github.com/goshawk-dev/goshawk/internal/testing/fakes"
)

var yesterday = time.Now().Add(-24 * time.Hour).Truncate(time.Second)

func second(n int) *metav1.Time {
	at := metav1.NewTime(yesterday.Add(time.Duration(n) * time.Second))
	return &at
}
func micro(n int) *metav1.MicroTime { at := metav1.NewMicroTime(second(n).Time); return &at }

// The writes of the status of a rollout with one group.
var (
	planned = func(s *v1alpha1.RolloutStatus) {
		s.State = v1alpha1.RolloutReady
		s.Plan = &v1alpha1.PlanStatus{Hash: "sha256:6d28f836ef096e718f7072824d05c9717a3d839afdd2cb91b97b18a126ee5f76", CreatedAt: second(1), Targets: 3, Groups: 1}
		s.Groups = []v1alpha1.GroupStatus{{Name: "g", State: v1alpha1.GroupReady}}
	}
	started = func(s *v1alpha1.RolloutStatus) { s.State, s.StartedAt = v1alpha1.RolloutStarting, micro(2) }
	opened  = func(s *v1alpha1.RolloutStatus) {
		s.State = v1alpha1.RolloutRunning
		s.Groups[0].State, s.Groups[0].OpenedAt = v1alpha1.GroupRunning, second(3)
	}
	paused = func(s *v1alpha1.RolloutStatus) {
		s.State, s.PausedAt, s.PauseReason, s.PauseMessage = v1alpha1.RolloutPaused, micro(4), v1alpha1.PauseByErrorBudget, "3 of 20 have failed"
	}
	resumed = func(s *v1alpha1.RolloutStatus) {
		s.State, s.PausedAt, s.PauseReason, s.PauseMessage = v1alpha1.RolloutRunning, nil, "", ""
		s.Handled = &v1alpha1.HandledRequests{ResumedAt: micro(5)}
	}
	finished = func(s *v1alpha1.RolloutStatus) {
		s.State, s.FinishedAt = v1alpha1.RolloutFinished, micro(6)
		s.Groups[0].State = v1alpha1.GroupFinished
	}
	life = []func(*v1alpha1.RolloutStatus){planned, started, opened, paused, resumed, finished}
)

// with returns an edit of a rollout that changes its status.
func with(changes ...func(*v1alpha1.RolloutStatus)) func(*v1alpha1.Rollout) {
	return func(r *v1alpha1.Rollout) {
		for _, change := range changes {
			change(&r.Status)
		}
	}
}

// decisionsOf returns the decisions of a whole life of a rollout.
func decisionsOf(name string) (all []string) {
	for _, d := range []string{"planned", "started", "groupopened g", "paused", "resumed", "groupfinished g", "finished"} {
		all = append(all, name+" "+d)
	}
	return all
}

func TestEveryDecisionIsDeliveredInOrderWithFewWrites(t *testing.T) {
	s := newSystem(t)
	s.timing.Record = time.Second
	from := time.Now()
	p := s.start().lead()
	for _, name := range []string{"a", "b", "c"} {
		s.rollout(name)
		for _, change := range life {
			s.status(name, change)
			p.sync()
		}
	}
	s.received(slices.Concat(decisionsOf("a"), decisionsOf("b"), decisionsOf("c"))...)
	if limit := int32(3 + time.Since(from)/time.Second); s.writes.Load() > limit { // the ConfigMap, the first change, and one each second
		t.Errorf("%d writes for 21 decisions, want at most %d", s.writes.Load(), limit)
	}
	p.waitIdle().end()
	if !p.logged.has("Sent a notification", "dev.goshawk.rollout.paused.v1", `"name"="b"`) {
		t.Errorf("no line for an event that was sent; log:\n%s", strings.Join(p.logged.all, "\n"))
	}
	writes := s.writes.Load()
	again := s.start().lead()
	s.rollout("d", with(started))
	again.sync()
	s.received(slices.Concat(decisionsOf("a"), decisionsOf("b"), decisionsOf("c"), []string{"d started"})...)
	again.waitIdle().end()
	if requests := s.receiver.requestCount(); requests != 22 || s.writes.Load() > writes+2 {
		t.Errorf("%d requests for 22 decisions, and %d writes after the restart", requests, s.writes.Load()-writes)
	}
}

func TestCountersCauseNoWriteAndNoEvent(t *testing.T) {
	s := newSystem(t)
	p := s.start().lead()
	s.rollout("a", with(started))
	p.sync()
	s.received("a started")
	s.eventually("the record is written", func() bool {
		return strings.Contains(s.stored(), `"started":`) && !strings.Contains(s.stored(), "pending")
	})
	writes := s.writes.Load()
	for n := range 20 {
		s.status("a", func(st *v1alpha1.RolloutStatus) { st.Targets = &v1alpha1.Counts{Targets: 20, Succeeded: int32(n)} })
		p.sync()
	}
	s.rollout("b")
	s.status("b", started)
	p.sync()
	s.received("a started", "b started")
	p.end()
	if more := s.writes.Load() - writes; more > 2 {
		t.Errorf("%d writes for one decision and 20 changes of counters", more)
	}
}

// stored returns all records.
func (s *system) stored() string {
	s.t.Helper()
	var list corev1.ConfigMapList
	if err := s.server.List(context.Background(), &list); err != nil {
		s.t.Fatal(err)
	}
	text := ""
	for i := range list.Items {
		for key, value := range list.Items[i].Data {
			text += key + " " + value + "\n"
		}
	}
	return text
}

// TestKilledAtEveryPoint kills the process before and after each of its writes, and at each request
// to the receiver, and starts another one. Each decision arrives at least once, in order. A pause
// is lifted after it was recorded.
func TestKilledAtEveryPoint(t *testing.T) {
	const most = 400
	for point := 1; point < most; point++ {
		k := &killed{system: newSystem(t), point: point}
		k.interaction = k.count
		k.receiver.answers(func(http.ResponseWriter, *http.Request, *event.Event) int {
			if k.current().isDead.Load() {
				return http.StatusServiceUnavailable // the process does not see its answer
			}
			return 0
		})
		k.run(k.start())
		for _, name := range []string{"a", "b"} {
			k.rollout(name)
		}
		for i, change := range life {
			for _, name := range []string{"a", "b"} {
				if i == 4 {
					k.until(func() bool { return strings.Contains(k.stored(), `"paused":`) && k.isRecorded(name) })
				}
				k.decide(name, change)
			}
		}
		want := slices.Concat(decisionsOf("a"), decisionsOf("b"))
		k.until(func() bool { return len(k.receiver.has()) >= len(want) })
		k.received(want...)
		k.current().end()
		if k.died == 0 {
			if point < 15 {
				t.Errorf("the process has only %d points", point)
			}
			return // the process has no such point
		}
	}
	t.Errorf("the process has more than %d points", most)
}

// killed is a system whose process is killed once.
type killed struct {
	*system
	point, died int

	mu      sync.Mutex
	counted int
	process *process
}

func (k *killed) current() *process {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.process
}

// count counts an interaction, and kills the process at the point of the test.
func (k *killed) count() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.counted++; k.counted == k.point && k.process != nil {
		k.process.isDead.Store(true)
		k.died++
	}
}

// revive starts another process if the present one is dead.
func (k *killed) revive() *process {
	p := k.current()
	if !p.isDead.Load() {
		return p
	}
	p.end()
	return k.run(k.start())
}

// run makes a process the present one, and the leader.
func (k *killed) run(p *process) *process {
	k.mu.Lock()
	k.process = p
	k.mu.Unlock()
	return p.lead()
}

// decide writes a status, as the controllers of a process do that is alive.
func (k *killed) decide(name string, change func(*v1alpha1.RolloutStatus)) {
	p := k.revive()
	k.mu.Lock()
	isDead := p.isDead.Load()
	if !isDead {
		k.status(name, change)
	}
	k.mu.Unlock()
	if isDead {
		k.decide(name, change)
		return
	}
	p.sync()
}

// until waits for a condition, and starts another process whenever the present one is dead.
func (k *killed) until(is func() bool) {
	k.t.Helper()
	k.eventually(fmt.Sprint("point ", k.point), func() bool {
		k.revive()
		return is()
	})
}

// isRecorded reports whether the pause of a rollout is recorded.
func (k *killed) isRecorded(name string) bool {
	for line := range strings.Lines(k.stored()) {
		if strings.HasPrefix(line, "Rollout."+string(k.rollouts[name].UID)+" ") {
			return strings.Contains(line, `"paused":`)
		}
	}
	return false
}

// TestOverwrittenDecisionSurvivesAKill: a pause was recorded but not delivered when the process was
// killed, and was lifted before the next one started.
func TestOverwrittenDecisionSurvivesAKill(t *testing.T) {
	s := newSystem(t)
	s.receiver.answersStatus(http.StatusInternalServerError)
	p := s.start().lead()
	s.rollout("a", with(started, paused))
	p.sync()
	s.eventually("the pause is recorded", func() bool { return strings.Contains(s.stored(), "3 of 20 have failed") })
	p.kill()
	s.status("a", resumed)
	s.receiver.answers(nil)
	s.start().lead()
	s.received("a started", "a paused", "a resumed")
}

// TestNextLeaderHasWhatItSaw: the leader is killed before it records a pause, which is lifted. The
// other process has seen the pause.
func TestNextLeaderHasWhatItSaw(t *testing.T) {
	s := newSystem(t)
	s.rollout("a", with(started))
	leader, next := s.start().lead(), s.start()
	s.received("a started")
	leader.kill()
	for _, change := range []func(*v1alpha1.RolloutStatus){paused, func(st *v1alpha1.RolloutStatus) { st.Targets = &v1alpha1.Counts{Failed: 3} }, resumed} {
		s.status("a", change)
		next.sync()
	}
	next.lead()
	s.received("a started", "a paused", "a resumed")
	s.eventually("the leader keeps one version of each object", func() bool {
		next.outbox.mu.Lock()
		defer next.outbox.mu.Unlock()
		for _, found := range next.outbox.objects {
			if len(found.versions) != 1 {
				return false
			}
		}
		return true
	})
}

func TestVersionsOfAProcessThatIsNotTheLeaderAreBounded(t *testing.T) {
	s := newSystem(t)
	s.timing.Keep = 10 * time.Millisecond
	s.rollout("a")
	p := s.start()
	for n := range 50 {
		s.status("a", func(st *v1alpha1.RolloutStatus) {
			paused(st)
			st.PausedAt = micro(n)
		})
		p.sync()
		p.outbox.mu.Lock()
		if kept := len(p.outbox.objects[objectKey{"Rollout", s.rollouts["a"].Namespace, "a"}].versions); kept > maxVersions {
			t.Errorf("%d versions", kept)
		}
		p.outbox.mu.Unlock()
	}
	s.eventually("only the newest version is kept", func() bool {
		p.outbox.mu.Lock()
		defer p.outbox.mu.Unlock()
		return len(p.outbox.objects[objectKey{"Rollout", s.rollouts["a"].Namespace, "a"}].versions) == 1
	})
}

// TestReceiverThatFailsAndComesBack: each failure ends with the whole list, in order.
func TestReceiverThatFailsAndComesBack(t *testing.T) {
	for _, test := range []struct {
		name string
		fail func(w http.ResponseWriter) int
	}{
		{"internal error", func(http.ResponseWriter) int { return http.StatusInternalServerError }},
		{"too many requests", func(w http.ResponseWriter) int {
			w.Header().Set("Retry-After", "3600")
			return http.StatusTooManyRequests
		}},
		{"wrong credentials", func(http.ResponseWriter) int { return http.StatusUnauthorized }},
		{"closed connection", func(w http.ResponseWriter) int {
			connection, _, _ := w.(http.Hijacker).Hijack()
			_ = connection.Close()
			return closed
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newSystem(t)
			var failures atomic.Int32
			s.receiver.answers(func(w http.ResponseWriter, _ *http.Request, _ *event.Event) int {
				if failures.Add(1) > 8 {
					return 0
				}
				return test.fail(w)
			})
			p := s.start().lead()
			s.rollout("a")
			s.rollout("b")
			for _, change := range life {
				s.status("a", change)
				s.status("b", change)
				p.sync()
			}
			s.received(slices.Concat(decisionsOf("a"), decisionsOf("b"))...)
			if p.value("goshawk_notification_attempts_total", "Failed") != 8 || !p.logged.has("A notification was not delivered") || !p.logged.has("accepts notifications again") {
				t.Errorf("%v failed attempts", p.value("goshawk_notification_attempts_total", "Failed"))
			}
			s.eventually("nothing is pending", func() bool { return p.value("goshawk_notifications_pending") == 0 })
		})
	}
}

// TestReceiverThatHangsDelaysOneRolloutOnly: the events of one rollout hang. Those of the others
// arrive, and no status is written later because of it.
func TestReceiverThatHangsDelaysOneRolloutOnly(t *testing.T) {
	s := newSystem(t)
	s.timing.Attempt = time.Hour
	release := make(chan struct{})
	s.receiver.answers(func(_ http.ResponseWriter, r *http.Request, e *event.Event) int {
		if dataOf(e).Name == "slow" {
			select {
			case <-release:
			case <-r.Context().Done():
			}
		}
		return 0
	})
	p := s.start().lead()
	for _, name := range []string{"slow", "b", "c"} {
		s.rollout(name)
	}
	for _, change := range life {
		for _, name := range s.names {
			s.status(name, change)
		}
		p.sync()
	}
	s.received(slices.Concat(decisionsOf("b"), decisionsOf("c"))...)
	close(release)
	s.received(slices.Concat(decisionsOf("b"), decisionsOf("c"), decisionsOf("slow"))...)
}

// TestReceiverThatHangsEndsWithTheAttempt: every attempt hangs, then the receiver answers again.
func TestReceiverThatHangsEndsWithTheAttempt(t *testing.T) {
	s := newSystem(t)
	s.timing.Attempt = 20 * time.Millisecond
	s.receiver.answers(func(_ http.ResponseWriter, r *http.Request, _ *event.Event) int {
		<-r.Context().Done()
		return http.StatusServiceUnavailable
	})
	p := s.start().lead()
	s.rollout("a", with(started))
	p.sync()
	s.eventually("attempts have failed", func() bool { return p.value("goshawk_notification_attempts_total", "Failed") >= 2 })
	p.outbox.mu.Lock()
	p.outbox.o.Timing.Attempt = patience
	p.outbox.mu.Unlock()
	s.receiver.answers(nil)
	s.received("a started")
}

func TestRefusedEventIsDroppedAndLogged(t *testing.T) {
	s := newSystem(t)
	s.receiver.answers(func(w http.ResponseWriter, _ *http.Request, e *event.Event) int {
		if dataOf(e).Decision == "paused" {
			return http.StatusBadRequest
		}
		return 0
	})
	p := s.start().lead()
	s.rollout("a", with(started))
	for _, change := range []func(*v1alpha1.RolloutStatus){paused, resumed} {
		s.status("a", change)
		p.sync()
	}
	s.received("a started", "a resumed")
	if p.value("goshawk_notifications_dropped_total", "Refused") != 1 || !p.logged.has("Dropped a notification", "Refused", "3 of 20 have failed", "400") {
		t.Errorf("dropped: %v; log:\n%s", p.value("goshawk_notifications_dropped_total", "Refused"), strings.Join(p.logged.all, "\n"))
	}
}

func TestReceiverThatIsGoneIsNotAskedUntilTheSecretChanges(t *testing.T) {
	s := newSystem(t)
	s.receiver.answersStatus(http.StatusGone)
	p := s.start().lead()
	s.rollout("a", with(started))
	p.sync()
	s.eventually("the receiver was asked", func() bool { return p.value("goshawk_notification_attempts_total", "Failed") == 1 })
	s.status("a", paused)
	p.sync()
	s.eventually("both events are pending", func() bool { return p.value("goshawk_notifications_pending") == 2 })
	time.Sleep(5 * s.timing.MaxRetry) // an attempt that should not be made would be made by now
	s.receiver.answers(nil)
	if got := s.receiver.has(); len(got) > 0 || s.receiver.requestCount() != 1 {
		t.Errorf("%d requests, the receiver has %q", s.receiver.requestCount(), got)
	}
	s.changeSecret(s.secret(secondKey))
	s.received("a started", "a paused")
}

func (s *system) changeSecret(data map[string][]byte) {
	s.t.Helper()
	secret := &corev1.Secret{}
	if err := s.server.Get(context.Background(), client.ObjectKey{Namespace: "system", Name: "receiver"}, secret); err != nil {
		s.t.Fatal(err)
	}
	secret.Data = data
	if err := s.server.Update(context.Background(), secret); err != nil {
		s.t.Fatal(err)
	}
}

func TestKeyIsRotatedWithoutARestart(t *testing.T) {
	s := newSystem(t)
	p := s.start().lead()
	s.rollout("a", with(started))
	p.sync()
	s.received("a started")
	data := s.secret(secondKey)
	data["previousKey"] = []byte(firstKey)
	s.changeSecret(data)
	s.eventually("the Secret was read again", func() bool {
		p.outbox.mu.Lock()
		defer p.outbox.mu.Unlock()
		return string(p.outbox.session.endpoint.data["key"]) == secondKey
	})
	s.changeSecret(map[string][]byte{"url": []byte("x")}) // a mistake: the last usable Secret stays
	s.eventually("the mistake is logged", func() bool { return p.logged.has("cannot be used", "url is not a URL") })
	s.status("a", paused)
	p.sync()
	s.received("a started", "a paused")
	s.receiver.mu.Lock()
	defer s.receiver.mu.Unlock()
	if first, second := strings.Fields(s.receiver.signatures[0]), strings.Fields(s.receiver.signatures[1]); len(first) != 1 || len(second) != 2 {
		t.Errorf("signatures %q", s.receiver.signatures)
	}
	for _, secret := range []string{firstKey, secondKey, "T0K3N"} {
		if p.logged.has(secret) {
			t.Errorf("the log has %s", secret)
		}
	}
}

func TestSecretMayBeCreatedLater(t *testing.T) {
	s := newSystem(t)
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "system", Name: "receiver"}}
	if err := s.server.Delete(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	p := s.start().lead()
	s.rollout("a", with(started))
	p.sync()
	s.eventually("the missing Secret is logged", func() bool { return p.logged.has("Secret system/receiver does not exist") })
	secret.Data = s.secret(firstKey)
	s.create(secret)
	s.received("a started")
}

// TestFullQueueIsReportedAndLosesOnlyWhatIsOverwritten: while the receiver is down, there are more
// decisions than room. When it comes back, it gets what the status of the objects shows. The
// decision that was overwritten meanwhile is in the log.
func TestFullQueueIsReportedAndLosesOnlyWhatIsOverwritten(t *testing.T) {
	s := newSystem(t)
	s.receiver.answersStatus(http.StatusInternalServerError)
	p := s.start().lead()
	var want []string
	for n := range MaxPending + 20 {
		name := fmt.Sprintf("r-%03d", n)
		s.rollout(name, with(started))
		want = append(want, name+" started")
	}
	p.sync()
	s.eventually("the queue is full", func() bool {
		return p.value("goshawk_notifications_queue_full") == 1 && p.value("goshawk_notifications_pending") == MaxPending
	})
	last := s.names[len(s.names)-1]
	for _, change := range []func(*v1alpha1.RolloutStatus){paused, resumed} {
		s.status(last, change)
		p.sync()
	}
	s.eventually("the overwritten decision is logged", func() bool {
		return p.logged.has("Dropped a notification", "Overwritten", last+":paused", "3 of 20 have failed")
	})
	if p.value("goshawk_notifications_dropped_total", "Overwritten") != 1 {
		t.Errorf("dropped: %v", p.value("goshawk_notifications_dropped_total", "Overwritten"))
	}
	var list corev1.ConfigMapList
	if err := s.server.List(t.Context(), &list); err != nil {
		t.Fatal(err)
	}
	for i := range list.Items {
		if size := list.Items[i].Size(); size > 900<<10 {
			t.Errorf("ConfigMap %s has %d bytes", list.Items[i].Name, size)
		}
	}
	s.receiver.answers(nil)
	s.received(append(want, last+" resumed")...)
	s.eventually("the queue is empty", func() bool {
		return p.value("goshawk_notifications_queue_full") == 0 && p.value("goshawk_notifications_pending") == 0
	})
}

// TestRolloutWithMoreDecisionsThanTheQueueHasRoom: all decisions of the largest rollout are found
// at once.
func TestRolloutWithMoreDecisionsThanTheQueueHasRoom(t *testing.T) {
	s := newSystem(t)
	p := s.start().lead()
	want := []string{"a planned", "a started"}
	s.rollout("a", func(r *v1alpha1.Rollout) {
		planned(&r.Status)
		started(&r.Status)
		r.Status.Groups, r.Status.Plan.Groups = nil, 500
		for n := range 500 {
			name := fmt.Sprintf("g-%d", n)
			r.Status.Groups = append(r.Status.Groups, v1alpha1.GroupStatus{Name: name, State: v1alpha1.GroupFinished, OpenedAt: second(n)})
			want = append(want, "a groupopened "+name, "a groupfinished "+name)
		}
	})
	p.sync()
	s.received(want...)
}

func TestEventIsGivenUpAfterItsTime(t *testing.T) {
	s := newSystem(t)
	s.timing.GiveUp = 30 * time.Millisecond
	s.receiver.answersStatus(http.StatusInternalServerError)
	p := s.start().lead()
	s.rollout("a", with(started))
	p.sync()
	s.eventually("it is given up", func() bool { return p.value("goshawk_notifications_dropped_total", "Expired") == 1 })
	if !p.logged.has("Dropped a notification", "Expired", "a:started") {
		t.Errorf("log:\n%s", strings.Join(p.logged.all, "\n"))
	}
}

func TestDeletionIsNotifiedAlsoIfNoProcessSawIt(t *testing.T) {
	s := newSystem(t)
	p := s.start().lead()
	for _, name := range []string{"a", "b"} {
		s.rollout(name, with(started))
	}
	p.sync()
	s.received("a started", "b started")
	s.delete("a")
	p.sync()
	s.received("a started", "b started", "a deleted")
	p.end()
	s.delete("b")
	again := s.start().lead()
	s.received("a started", "b started", "a deleted", "b deleted")
	s.eventually("the records are removed", func() bool { return !strings.Contains(s.stored(), "Rollout.") })
	again.end()
	s.start().lead()
	s.rollout("c")
	s.received("a started", "b started", "a deleted", "b deleted")
}

func (s *system) delete(name string) {
	s.t.Helper()
	if err := s.server.Delete(context.Background(), s.rollouts[name]); err != nil {
		s.t.Fatal(err)
	}
}

func TestRecreatedObjectIsAnotherObject(t *testing.T) {
	s := newSystem(t)
	p := s.start().lead()
	s.rollout("a", with(started))
	p.sync()
	s.received("a started")
	s.delete("a")
	s.rollout("a", func(r *v1alpha1.Rollout) {
		r.UID = "uid-of-the-second-one"
		planned(&r.Status)
		started(&r.Status)
	})
	s.status("a", opened) // a resourceVersion that the first one did not have
	p.sync()              // the cache shows it as a change of one object, as after a list
	s.eventually("all events are delivered", func() bool { return len(s.receiver.has()) >= 5 })
	got := s.receiver.has()
	slices.Sort(got)
	if want := []string{"a deleted", "a groupopened g", "a planned", "a started", "a started"}; !slices.Equal(got, want) {
		t.Errorf("the receiver has %q, want %q", got, want)
	}
}

// TestRestoredObjectIsNotNotifiedAgain: an object with the uid of a backup in its status.
func TestRestoredObjectIsNotNotifiedAgain(t *testing.T) {
	s := newSystem(t)
	p := s.start().lead()
	s.rollout("restored", func(r *v1alpha1.Rollout) {
		planned(&r.Status)
		started(&r.Status)
		r.Status.UID = "uid-before-the-restore"
	})
	p.sync()
	s.status("restored", paused)
	s.status("restored", func(st *v1alpha1.RolloutStatus) { st.PausedAt = &metav1.MicroTime{Time: time.Now().Add(time.Hour)} })
	p.sync()
	s.received("restored paused")
	s.receiver.mu.Lock()
	defer s.receiver.mu.Unlock()
	if id := s.receiver.events[0].ID(); !strings.HasPrefix(id, "uid-before-the-restore:paused:") {
		t.Errorf("id %s", id)
	}
}

func TestObjectsFromBeforeAreNotNotified(t *testing.T) {
	s := newSystem(t)
	s.rollout("old", func(r *v1alpha1.Rollout) {
		r.CreationTimestamp = metav1.NewTime(time.Now().Add(-time.Hour))
		planned(&r.Status)
		started(&r.Status)
	})
	p := s.start().lead()
	s.eventually("the record has the object", func() bool { return strings.Contains(s.stored(), `"started":`) })
	s.status("old", opened)
	p.sync()
	s.received("old groupopened g")
}

// TestTwoLeadersForAMoment: a former leader writes its record after the new one. Both keep all
// decisions.
func TestTwoLeadersForAMoment(t *testing.T) {
	s := newSystem(t)
	former := s.start().lead()
	s.rollout("a", with(started))
	former.sync()
	s.received("a started")
	next := s.start().lead()
	s.rollout("b", with(started))
	next.sync()
	s.received("a started", "b started")
	s.eventually("the record has both", func() bool { return strings.Count(s.stored(), `"started":`) == 2 })
	s.rollout("c", with(started))
	former.sync()
	s.received("a started", "b started", "c started")
	s.eventually("the former leader keeps the record of the other one", func() bool { return strings.Count(s.stored(), `"started":`) == 3 })
	former.waitIdle().end()
	s.status("b", paused)
	next.sync()
	next.waitIdle().end()
	requests := s.receiver.requestCount()
	s.start().lead()
	s.status("c", paused)
	s.eventually("all records are there", func() bool { return strings.Count(s.stored(), `"started":`) == 3 })
	if more := s.receiver.requestCount() - requests; more > 2 {
		t.Errorf("%d decisions were sent again", more)
	}
}

// TestRecordsOfAnotherProcessAreKept: another process has changed the ConfigMap since it was read.
func TestRecordsOfAnotherProcessAreKept(t *testing.T) {
	s := newSystem(t)
	p := s.start().lead()
	s.rollout("a", with(started))
	p.sync()
	s.received("a started")
	s.eventually("the record is written", func() bool {
		return !strings.Contains(s.stored(), "pending") && strings.Contains(s.stored(), `"started":`)
	})
	stored := &corev1.ConfigMap{}
	if err := s.server.Get(t.Context(), client.ObjectKey{Namespace: "system", Name: "goshawk-notifications-0"}, stored); err != nil {
		t.Fatal(err)
	}
	stored.Data["AutoAssignment.of-another-process"], stored.Data["Other.form"] = `{"name":"other","mark":{}}`, "of a later version"
	if err := s.server.Update(t.Context(), stored); err != nil {
		t.Fatal(err)
	}
	s.rollout("b", with(started))
	p.sync()
	s.received("a started", "b started")
	s.eventually("the record has all", func() bool {
		text := s.stored()
		return strings.Count(text, `"started":`) == 2 && strings.Contains(text, "of-another-process") && strings.Contains(text, "of a later version")
	})
}

// TestCacheThatIsBehindTheRecordCausesNoEvent: the next leader has an older version of an object in
// its cache than the one that the leader before it has recorded.
func TestCacheThatIsBehindTheRecordCausesNoEvent(t *testing.T) {
	s := newSystem(t)
	s.rollout("a", with(started))
	s.status("a", paused)
	behind := s.start()
	p := s.start().lead()
	s.status("a", resumed)
	p.sync()
	s.received("a started", "a paused", "a resumed")
	p.waitIdle().end()
	requests := s.receiver.requestCount()
	behind.lead().waitIdle()
	s.status("a", func(st *v1alpha1.RolloutStatus) { st.State, st.FinishedAt = v1alpha1.RolloutFinished, micro(6) })
	behind.sync()
	s.received("a started", "a paused", "a resumed", "a finished")
	if more := s.receiver.requestCount() - requests; more != 1 {
		t.Errorf("%d events after the change of the leader, want that of the end", more)
	}
}

func TestDeletedRecordIsCreatedAgain(t *testing.T) {
	s := newSystem(t)
	p := s.start().lead()
	s.rollout("a", with(started))
	p.sync()
	s.received("a started")
	s.eventually("the record is written", func() bool {
		return !strings.Contains(s.stored(), "pending") && strings.Contains(s.stored(), `"started":`)
	})
	if err := s.server.Delete(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "system", Name: "goshawk-notifications-0"}}); err != nil {
		t.Fatal(err)
	}
	s.rollout("b", with(started))
	p.sync()
	s.eventually("the record has both", func() bool {
		return strings.Count(s.stored(), `"started":`) == 2 && strings.Contains(s.stored(), "since ")
	})
}

// TestRecordGrowsOverSeveralConfigMaps: and a further process reads all of them.
func TestRecordGrowsOverSeveralConfigMaps(t *testing.T) {
	s := newSystem(t)
	const n = 3 * maxShardBytes / newRecordBytes / 2
	made := build.At(time.Now().Add(-time.Hour))
	for i := range n {
		a := made.AutoAssignment(fmt.Sprintf("a-%d", i), "set", func(a *v1alpha1.AutoAssignment) {
			a.UID, a.Status.StartedAt = types.UID(fmt.Sprint("uid-", i)), micro(1)
			a.ResourceVersion = ""
		})
		s.create(a)
		a.Status.StartedAt = micro(1)
		if err := s.server.Status().Update(t.Context(), a); err != nil {
			t.Fatal(err)
		}
	}
	p := s.start().lead() // the cache has all objects before the first write, which shows their real size
	s.eventually("all records are written", func() bool { return strings.Count(s.stored(), "AutoAssignment.") == n })
	p.end()
	var list corev1.ConfigMapList
	if err := s.server.List(t.Context(), &list); err != nil {
		t.Fatal(err)
	}
	if len(list.Items) < 2 {
		t.Errorf("%d ConfigMaps", len(list.Items))
	}
	again := s.start()
	loaded, err := again.outbox.load(t.Context())
	if err != nil || len(loaded.records) != n {
		t.Errorf("%d records, %v", len(loaded.records), err)
	}
}

// TestFieldManagerOfACommitIsNamed: the event of an approval names the program that wrote it.
func TestFieldManagerOfACommitIsNamed(t *testing.T) {
	at := metav1.NewTime(yesterday)
	fields := metav1.NewFieldsV1
	managed := []metav1.ManagedFieldsEntry{
		{Manager: "older", Time: &at, FieldsV1: fields(`{"f:spec":{"f:approval":{"f:planHash":{}}}}`)},
		{Manager: "argocd-controller", Time: second(5), FieldsV1: fields(`{"f:spec":{"f:approval":{".":{},"f:planHash":{}}}}`)},
		{Manager: "another-field", Time: second(9), FieldsV1: fields(`{"f:spec":{"f:state":{}}}`)},
		{Manager: "goshawk", Time: second(9), Subresource: "status", FieldsV1: fields(`{"f:spec":{"f:approval":{}}}`)},
		{Manager: "broken", Time: second(9), FieldsV1: fields(`{"f:spec":3`)},
	}
	if by := lastWriter(managed, "spec.approval"); by == nil || by.Manager != "argocd-controller" || by.Field != "spec.approval" {
		t.Errorf("by %+v", by)
	}
	if by := lastWriter(managed, "spec.retry"); by != nil {
		t.Errorf("by %+v of a field without a manager", by)
	}
	s := newSystem(t)
	s.server = fakes.Server(t).WithReturnManagedFields().Build()
	s.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "system", Name: "receiver"}, Data: s.secret(firstKey)})
	p := s.start().lead()
	s.rollout("a", func(r *v1alpha1.Rollout) {
		r.Spec.State = v1alpha1.IntentPaused
		started(&r.Status)
		paused(&r.Status)
		r.Status.PauseReason = v1alpha1.PauseBySpec
	})
	p.sync()
	s.received("a started", "a paused")
	s.receiver.mu.Lock()
	defer s.receiver.mu.Unlock()
	if by := dataOf(&s.receiver.events[1]).By; by == nil || by.Field != "spec.state" || by.Manager == "" {
		t.Errorf("by %+v", by)
	}
}

// TestHandlerOfTheCacheNeverWaits: while the receiver hangs and the record cannot be written, the
// handlers of a cache return at once.
func TestHandlerOfTheCacheNeverWaits(t *testing.T) {
	s := newSystem(t)
	release := make(chan struct{})
	var once sync.Once
	t.Cleanup(func() { once.Do(func() { close(release) }) })
	s.receiver.answers(func(_ http.ResponseWriter, r *http.Request, _ *event.Event) int {
		select {
		case <-release:
		case <-r.Context().Done():
		}
		return 0
	})
	p := s.start().lead()
	s.eventually("it leads", func() bool { p.outbox.mu.Lock(); defer p.outbox.mu.Unlock(); return p.outbox.session != nil })
	s.interaction = func() { <-release }
	for n := range 50 {
		s.rollout(fmt.Sprint("r-", n), with(started))
		p.sync() // it calls the handlers
	}
	once.Do(func() { close(release) })
	s.eventually("all are delivered", func() bool { return len(s.receiver.has()) == 50 })
}

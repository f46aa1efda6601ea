// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package unreadable

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/ddi"
	"github.com/goshawk-dev/goshawk/internal/devicesim"
	"github.com/goshawk-dev/goshawk/internal/manager"
	"github.com/goshawk-dev/goshawk/test/cluster"
	"github.com/goshawk-dev/goshawk/test/world"
)

const (
	honestDevices  = 200
	hostileDevices = 100
)

// There are 100 hostile devices with valid tokens, a client without a token at the address of the
// fleet, an editor of another namespace that commits as fast as possible, and an unreadable object
// of each kind in both namespaces. 200 honest devices go through a rollout, its stop by an
// invalidation, and the rollout of the fixed release. They notice nothing beyond these bounds: no
// request of them fails, half of their answers come within a quarter of a second, and none of them
// starts later than a second after the stop.
func TestHonestDevicesAmongHostileOnes(t *testing.T) {
	honest, tenant := newWorld(t), newWorld(t)
	world.StoreUnreadable(t, honest.Client, honest.Namespace, tenant.Namespace)
	config, _ := cluster.Start(t)
	g, deviceAPI, stop := runWith(t, config, func(o *manager.Options) { o.DeviceAPIOptions = ddi.Options{} })
	t.Cleanup(stop)
	honest.DeviceAPI, tenant.DeviceAPI = deviceAPI, deviceAPI
	g.ready(honest)

	names := honest.Targets("device", honestDevices, map[string]string{"fleet": "honest"})
	hostile := honest.Targets("hostile", hostileDevices, map[string]string{"fleet": "hostile"})
	for i, version := range []string{"1.0", "2.0", "3.0"} {
		honest.Set(fmt.Sprintf("firmware-%d", i+1), version)
	}
	honest.ApplySpec("AutoAssignment", "bait", `{update: {distributionSet: firmware-3}, targetSelector: {matchLabels: {fleet: hostile}}}`)
	ctx, cancel := context.WithCancel(t.Context())
	var attackers sync.WaitGroup
	t.Cleanup(func() { cancel(); attackers.Wait() })
	answers := &answerCounts{byStatus: map[int]int{}}
	for i, name := range hostile {
		attackers.Go(func() {
			(&attacker{url: deviceAPI + "/" + honest.Namespace + "/controller/v1/" + name, token: world.Token, answers: answers}).run(ctx, i)
		})
	}
	for i := range 2 {
		attackers.Go(func() { floodWithoutToken(ctx, deviceAPI+"/"+honest.Namespace+"/controller/v1/", names, i, answers) })
	}
	attackers.Go(func() { hostileTenant(ctx, tenant) })

	timed := &world.TimedTransport{RoundTripper: &http.Transport{MaxIdleConnsPerHost: 64}}
	fleet, devices := honest.Play(func(c *devicesim.Config) { c.Transport, c.PollInterval = timed, time.Second }, devicesim.Obedient, names...)
	honest.EventuallyPolled(devices, 1, time.Time{}, names...)

	honest.Apply(rolloutOf("firmware-1"))
	honest.EventuallyRollout("firmware-1", "has succeeded on 40 devices", func(r *v1alpha1.Rollout) bool {
		return r.Status.Targets != nil && r.Status.Targets.Succeeded >= 40
	})
	honest.Commit(&v1alpha1.DistributionSet{ObjectMeta: metav1.ObjectMeta{Name: "firmware-1"}}, `spec: {invalidation: {cancellation: Force, reason: bricks the modem}}`)
	committed := time.Now()
	honest.EventuallyRollout("firmware-1", "is stopped", world.InState(v1alpha1.RolloutStopped))
	honest.EventuallyPolled(devices, 2, committed, names...)
	if late := devices.StartedAfter(committed.Add(time.Second)); len(late) > 0 {
		t.Errorf("%d devices started more than a second after the stop, such as %+v", len(late), late[0])
	}
	honest.Apply(rolloutOf("firmware-2"))
	fixed := honest.EventuallyRollout("firmware-2", "finishes", world.InState(v1alpha1.RolloutFinished))
	if got := fixed.Status.Targets.Succeeded; got != honestDevices {
		t.Errorf("the fixed release succeeded on %d devices", got)
	}
	cancel()
	attackers.Wait()

	if s := fleet.Stats(); s.HTTPErrors > 0 {
		t.Errorf("%d requests of honest devices failed, the last one: %s", s.HTTPErrors, s.LastError)
	}
	polls, reports := timed.Sorted()
	t.Logf("the responses to hostile clients are %v; %d polls: median %s, slowest %s; %d reports: median %s, slowest %s", answers.byStatus,
		len(polls), polls[len(polls)/2], polls[len(polls)-1], len(reports), reports[len(reports)/2], reports[len(reports)-1])
	for what, took := range map[string][]time.Duration{"polls": polls, "reports": reports} {
		if usual := took[len(took)/2]; usual > 250*time.Millisecond {
			t.Errorf("half of the %s took %s or more", what, usual)
		}
	}
	if answers.byStatus[http.StatusOK] < hostileDevices || answers.byStatus[http.StatusTooManyRequests] == 0 {
		t.Errorf("the responses to hostile clients are %v, which are not those to hostile clients", answers.byStatus)
	}
	checkSizes(t, honest, hostile)

	none := map[string]int{}
	for kind, fix := range fixes {
		for _, w := range []*world.World{honest, tenant} {
			if kind == "DeploymentGroup" { // its spec is immutable
				world.Loosely(t, w.Client, func() { w.Force(kind, "odd", fix) }, kind)
			} else {
				w.Force(kind, "odd", fix)
			}
		}
		none[kind] = 0
	}
	g.counted(honest, none)
}

func rolloutOf(name string) string {
	return fmt.Sprintf(`
apiVersion: goshawk.dev/v1alpha1
kind: Rollout
metadata: {name: %[1]s}
spec: {update: {distributionSet: %[1]s}, targetSelector: {matchLabels: {fleet: honest}}, stabilizationSeconds: 1, groupCount: 4}
`, name)
}

// checkSizes fails the test for Targets of hostile devices that are larger than the bound of
// docs/operations.md.
func checkSizes(t *testing.T, w *world.World, names []string) {
	t.Helper()
	for _, name := range names {
		target := w.Target(name)
		for key, value := range target.Status.Attributes {
			if strings.ContainsAny(key+string(value), "\x1b\u202e") {
				t.Errorf("target %s keeps control characters in the attribute %q", name, key)
				return
			}
		}
		if size := len(cluster.Kubectl(t, "-n", w.Namespace, "get", "tgt", name, "-o", "json")); size > 96<<10 {
			t.Errorf("target %s has %d bytes", name, size)
		}
		if name == names[3] { // each needs a call of kubectl, and four are enough
			return
		}
	}
}

type answerCounts struct {
	mu       sync.Mutex
	byStatus map[int]int
}

func (c *answerCounts) add(status int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.byStatus[status]++
}

// attacker is a device with a valid token that sends the most expensive requests.
type attacker struct {
	url, token string
	answers    *answerCounts
}

var deploymentLink = regexp.MustCompile(`/deploymentBase/(\d+)`)

func (a *attacker) run(ctx context.Context, seed int) {
	id := ""
	for n := seed; ctx.Err() == nil; n++ {
		switch n % 6 {
		case 0:
			if m := deploymentLink.FindStringSubmatch(a.send(ctx, http.MethodGet, "", "")); m != nil {
				id = m[1]
				a.send(ctx, http.MethodGet, "/deploymentBase/"+id, "")
			}
		case 1:
			data := make([]string, 90)
			for i := range data {
				data[i] = fmt.Sprintf(`"key-%d":"\u001b[31m\u202e%d %s"`, i, n, strings.Repeat("x", 100))
			}
			a.send(ctx, http.MethodPut, "/configData", `{"mode":"merge","data":{`+strings.Join(data, ",")+`}}`)
		case 2:
			a.send(ctx, http.MethodPost, "/confirmationBase/activateAutoConfirm", fmt.Sprintf(`{"initiator":"me","remark":"%d"}`, n))
		case 3:
			a.send(ctx, http.MethodPost, "/confirmationBase/deactivateAutoConfirm", "")
		case 4:
			details := slices.Repeat([]string{`"` + strings.Repeat("e", 1200) + `"`}, 50)
			a.send(ctx, http.MethodPost, "/deploymentBase/"+id+"/feedback", fmt.Sprintf(
				`{"status":{"execution":"proceeding","result":{"finished":"none"},"details":[%s]}}`, strings.Join(details, ",")))
		case 5:
			a.send(ctx, http.MethodPut, "/installedBase", fmt.Sprintf(`{"name":"firmware","version":"%d.0"}`, n%3+1))
		}
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (a *attacker) send(ctx context.Context, method, path, body string) string {
	request, err := http.NewRequestWithContext(ctx, method, a.url+path, bytes.NewBufferString(body))
	if err != nil {
		return ""
	}
	request.Header.Set("Authorization", "TargetToken "+a.token)
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return ""
	}
	defer func() { _ = response.Body.Close() }()
	answer, _ := io.ReadAll(io.LimitReader(response.Body, 1<<16))
	a.answers.add(response.StatusCode)
	return string(answer)
}

// floodWithoutToken sends results for honest devices with a wrong token.
func floodWithoutToken(ctx context.Context, url string, names []string, seed int, answers *answerCounts) {
	for n := seed; ctx.Err() == nil; n++ {
		a := attacker{url: url + names[n%len(names)], token: "guess", answers: answers}
		a.send(ctx, http.MethodPost, "/deploymentBase/1/feedback", `{"status":{"execution":"closed","result":{"finished":"failure"}}}`)
		time.Sleep(5 * time.Millisecond)
	}
}

// hostileTenant is an editor of another namespace that creates, invalidates and deletes sets and
// rollouts without end.
func hostileTenant(ctx context.Context, w *world.World) {
	var n atomic.Int64
	var work sync.WaitGroup
	for range 2 {
		work.Go(func() {
			for ctx.Err() == nil {
				name := fmt.Sprintf("spam-%d", n.Add(1))
				meta := metav1.ObjectMeta{Namespace: w.Namespace, Name: name}
				_ = w.Client.Create(ctx, &v1alpha1.DistributionSet{ObjectMeta: meta, Spec: v1alpha1.DistributionSetSpec{Name: name, Version: "1", Type: "any"}})
				_ = w.Client.Create(ctx, &v1alpha1.Rollout{ObjectMeta: meta, Spec: v1alpha1.RolloutSpec{
					Update: v1alpha1.Update{DistributionSet: name}, GroupCount: new(int32(500))}})
				_ = w.Client.Patch(ctx, &v1alpha1.DistributionSet{ObjectMeta: meta}, client.RawPatch(types.MergePatchType,
					[]byte(`{"spec":{"invalidation":{"cancellation":"Force","reason":"spam"}}}`)))
				if n.Load()%3 == 0 {
					_ = w.Client.Delete(ctx, &v1alpha1.Rollout{ObjectMeta: meta})
				}
				time.Sleep(50 * time.Millisecond)
			}
		})
	}
	work.Wait()
}

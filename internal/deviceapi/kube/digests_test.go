// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/deviceapi"
	"github.com/goshawk-dev/goshawk/internal/testing/timing"
)

// manyKeys is how many tokens of 43 characters fit into one Secret, roughly.
const manyKeys = 14_000

// fullSecret has the key "all" and as many others as a Secret can hold.
func fullSecret() *corev1.Secret {
	s := tokens("tokens", TokenSecretType)
	for i := range manyKeys {
		s.Data[fmt.Sprintf("device-%05d", i)] = fmt.Appendf(nil, "%043d", i)
	}
	return s
}

// questions are the credentials that a device or another client can send.
var questions = []struct {
	name   string
	device deviceapi.Device
	token  string
	want   error
}{
	{"right token", dev0, "let-me-in", nil},
	{"wrong token", dev0, "let-me-on", deviceapi.ErrUnauthorized},
	{"no token", dev0, "", deviceapi.ErrUnauthorized},
	{"unknown device", deviceapi.Device{Namespace: fleetNamespace, ControllerID: "dev-9"}, "let-me-in", deviceapi.ErrUnauthorized},
	{"unknown tenant", deviceapi.Device{Namespace: "elsewhere", ControllerID: "dev-0"}, "let-me-in", deviceapi.ErrUnauthorized},
	{"no reference", deviceapi.Device{Namespace: fleetNamespace, ControllerID: "dev-1"}, "let-me-in", deviceapi.ErrUnauthorized},
	{"missing Secret", deviceapi.Device{Namespace: fleetNamespace, ControllerID: "dev-2"}, "let-me-in", deviceapi.ErrUnauthorized},
	{"missing key", deviceapi.Device{Namespace: fleetNamespace, ControllerID: "dev-3"}, "let-me-in", deviceapi.ErrUnauthorized},
}

// guardedBy returns a device API with the devices of questions and the given Secret.
func guardedBy(t testing.TB, secret *corev1.Secret) *deviceAPI {
	w := newWorld(t, 4)
	for name, ref := range map[string]*v1alpha1.SecretKeyReference{"dev-1": nil, "dev-2": {Name: "missing", Key: "all"}, "dev-3": {Name: "tokens", Key: "missing"}} {
		edit(w, name, &v1alpha1.Target{}, func(t *v1alpha1.Target) { t.Spec.TokenSecretRef = ref })
	}
	d := w.deviceAPI(Options{})
	d.tokens.set(secret, true)
	return d
}

// took returns how long each question takes: the shortest of several runs, because other load of
// the machine only makes a run longer.
func took(t testing.TB, d *deviceAPI, targetLocks, asks int) []time.Duration {
	best := slices.Repeat([]time.Duration{time.Hour}, len(questions))
	for range targetLocks {
		for i, q := range questions {
			started := time.Now()
			for range asks {
				if err := d.Authorize(context.Background(), q.device, deviceapi.Credentials{TargetToken: q.token}); !errors.Is(err, q.want) {
					t.Fatalf("%s: the error is %v", q.name, err)
				}
			}
			best[i] = min(best[i], time.Since(started)/time.Duration(asks))
		}
	}
	return best
}

// Neither the response nor its time depends on whether the device exists or on the number of tokens
// in the Secret.
func TestAuthorizeDoesTheSameWorkForAll(t *testing.T) {
	few, many := guardedBy(t, tokens("tokens", TokenSecretType)), guardedBy(t, fullSecret())
	timing.Check(t, func() (wrong string) {
		times, timesOfMany := took(t, few, 20, 200), took(t, many, 20, 200)
		for i, q := range questions {
			if times[i] > 3*times[0] || 3*times[i] < times[0] || timesOfMany[i] > 4*times[0] {
				wrong += fmt.Sprintf("%s takes %s, with %d keys %s, and the right token %s; ", q.name, times[i], manyKeys, timesOfMany[i], times[0])
			}
		}
		return wrong
	})
	for _, q := range questions {
		allocations := func(d *deviceAPI) float64 {
			return testing.AllocsPerRun(100, func() { _ = d.Authorize(context.Background(), q.device, deviceapi.Credentials{TargetToken: q.token}) })
		}
		if a, b := allocations(few), allocations(many); a != b || a > 6 {
			t.Errorf("%s allocates %v times, with %d keys %v times", q.name, a, manyKeys, b)
		}
	}
}

// BenchmarkAuthorize measures each question with a full Secret.
func BenchmarkAuthorize(b *testing.B) {
	d := guardedBy(b, fullSecret())
	sums, targetLocks := make([]time.Duration, len(questions)), 0
	for b.Loop() {
		for i, t := range took(b, d, 1, 100) {
			sums[i] += t
		}
		targetLocks++
	}
	for i, q := range questions {
		b.ReportMetric(float64(sums[i].Nanoseconds())/float64(targetLocks), "ns/"+strings.ReplaceAll(q.name, " ", "-"))
	}
}

// BenchmarkRotation measures the change of one key of a full Secret.
func BenchmarkRotation(b *testing.B) {
	d, secret := newTokenDigests(), fullSecret()
	for b.Loop() {
		d.set(secret, true)
	}
	b.ReportMetric(float64(len(secret.Data)), "keys")
}

// A token takes no more memory than docs/operations.md says.
func TestMemoryOfTokens(t *testing.T) {
	secret := fullSecret()
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	d := newTokenDigests()
	d.set(secret, true)
	after := heap()
	perToken := (int64(after) - int64(before)) / manyKeys
	if perToken > 160 {
		t.Errorf("a token costs %d bytes beside its Secret, want 160 at most", perToken)
	}
	runtime.KeepAlive(secret)
	runtime.KeepAlive(d)
}

// TestFullSecretIsReadWithinASecond: each change of the Secret costs this once.
func TestFullSecretIsReadWithinASecond(t *testing.T) {
	secret := fullSecret()
	timing.Within(t, time.Second, func() { newTokenDigests().set(secret, true) })
}

// changed is called only for keys whose fault has changed: a rotation in a full Secret affects no
// other target.
func TestRotationAffectsNoOtherToken(t *testing.T) {
	name := types.NamespacedName{Namespace: fleetNamespace, Name: "tokens"}
	change := func(key, token string) func(*corev1.Secret) {
		return func(s *corev1.Secret) { s.Data[key] = []byte(token) }
	}
	for what, tc := range map[string]struct {
		change func(*corev1.Secret)
		want   []string
	}{
		"another token":                    {change("device-00007", "new"), nil},
		"another key":                      {change("another", "new"), []string{"another"}},
		"a removed key":                    {func(s *corev1.Secret) { delete(s.Data, "device-00007") }, []string{"device-00007"}},
		"a token of blanks":                {change("device-00007", " \n"), []string{"device-00007"}},
		"a token of 2 lines":               {change("device-00007", "a\nb"), []string{"device-00007"}},
		"a token in place of an empty one": {change("empty", "a"), []string{"empty"}},
		"nothing":                          {func(*corev1.Secret) {}, nil},
	} {
		t.Run(what, func(t *testing.T) {
			d, secret := newTokenDigests(), fullSecret()
			d.set(secret, false)
			after := secret.DeepCopy()
			tc.change(after)
			var changed []string
			d.changed = func(of types.NamespacedName, isChanged func(string) bool) {
				for _, key := range append([]string{"another", "empty", "all"}, "device-00000", "device-00007") {
					if isChanged(key) {
						changed = append(changed, key)
					}
				}
				if of != name {
					t.Errorf("the Secret is %s", of)
				}
			}
			d.set(after, true)
			if !slices.Equal(changed, tc.want) {
				t.Errorf("the changed keys are %q, want %q", changed, tc.want)
			}
		})
	}
}

// The digests are those of the latest Secret: a token that was removed in any way is refused.
func TestRemovedTokensAreRefused(t *testing.T) {
	for what, take := range map[string]func(*tokenDigests, *corev1.Secret){
		"another token": func(d *tokenDigests, s *corev1.Secret) { s.Data["all"] = []byte("new"); d.set(s, true) },
		"no key":        func(d *tokenDigests, s *corev1.Secret) { delete(s.Data, "all"); d.set(s, true) },
		"no Secret":     func(d *tokenDigests, s *corev1.Secret) { d.remove(s) },
		"a missed deletion": func(d *tokenDigests, s *corev1.Secret) {
			d.remove(toolscache.DeletedFinalStateUnknown{Key: fleetNamespace + "/tokens", Obj: s})
		},
		"another type": func(d *tokenDigests, s *corev1.Secret) { s.Type = corev1.SecretTypeOpaque; d.set(s, true) },
	} {
		t.Run(what, func(t *testing.T) {
			d := newWorld(t, 1).deviceAPI(Options{})
			if err := d.Authorize(context.Background(), dev0, deviceapi.Credentials{TargetToken: "let-me-in"}); err != nil {
				t.Fatalf("before: %v", err)
			}
			take(d.tokens, tokens("tokens", TokenSecretType))
			for _, token := range []string{"let-me-in", "", "let-me-in\n"} {
				if err := d.Authorize(context.Background(), dev0, deviceapi.Credentials{TargetToken: token}); !errors.Is(err, deviceapi.ErrUnauthorized) {
					t.Errorf("%q: the error is %v", token, err)
				}
			}
		})
	}
}

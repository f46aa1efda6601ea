// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package stories

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/test/world"
)

// sendRequest sends one request of a device and returns status and body of the response. id is
// escaped in the path.
func sendRequest(w *world.World, method, id, path, body string) (status int, answer string) {
	w.T.Helper()
	address := w.DeviceAPI + "/" + w.Namespace + "/controller/v1/" + url.PathEscape(id) + path
	request, err := http.NewRequestWithContext(w.T.Context(), method, address, strings.NewReader(body))
	if err != nil {
		w.T.Fatal(err)
	}
	request.Header.Set("Authorization", "TargetToken "+world.Token)
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		w.T.Fatal(err)
	}
	defer response.Body.Close()
	read, err := io.ReadAll(response.Body)
	if err != nil {
		w.T.Fatal(err)
	}
	return response.StatusCode, string(read)
}

// TestOneRuleForControllerIDs: the API server accepts exactly the ids that a device can use. Each
// id of the table is sent to both.
func TestOneRuleForControllerIDs(t *testing.T) {
	t.Parallel()
	w := world.New(t)
	w.Targets("any", 1, nil) // creates the token
	ids := map[string]bool{
		"gw-1": true, "ABC:123": true, "...": true, "-": true, "ä": true, "型番": true, "a%2Fb": true, "a?b#c": true, "a+b": true, "🦀": true,
		strings.Repeat("x", 256): true, strings.Repeat("型", 256): true,
		".": false, "..": false, "a/b": false, "/": false, "a b": false, " a": false, "a\t": false, "a\n": false, "a\u00a0b": false, "a\u2028b": false,
		"a\u3000b": false, "a\u0085b": false, "a\u001bb": false, "a\u0001": false, "a\u007f": false, "a\u200eb": false, "a\u202eb": false, "a\u200bb": false, "\ufeffa": false,
		"a\u00adb": false, strings.Repeat("x", 257): false, strings.Repeat("型", 257): false,
	}
	for i, id := range slices.Sorted(maps.Keys(ids)) {
		target := &v1alpha1.Target{ObjectMeta: metav1.ObjectMeta{Name: "id-" + strconv.Itoa(i), Namespace: w.Namespace}, Spec: v1alpha1.TargetSpec{
			ControllerID: id, TokenSecretRef: &v1alpha1.SecretKeyReference{Name: "tokens", Key: "all"}}}
		err := w.Client.Create(t.Context(), target)
		if taken := err == nil; taken != ids[id] {
			t.Errorf("%q: accepted by the API server: %t, want %t: %v", id, taken, ids[id], err)
		}
		if err != nil && !strings.Contains(err.Error(), "controllerID") {
			t.Errorf("%q: the message names no field: %v", id, err)
		}
		switch {
		case ids[id]:
			w.Eventually(fmt.Sprintf("the device %q is served", id), func() string {
				if status, answer := sendRequest(w, http.MethodGet, id, "", ""); status != http.StatusOK {
					return fmt.Sprintf("%d %s", status, answer)
				}
				return ""
			})
		case strings.Contains(id, "/"): // an escaped slash is part of an id, and no Target has such an id
			if status, answer := sendRequest(w, http.MethodGet, id, "", ""); status != http.StatusUnauthorized {
				t.Errorf("%q: the response of the device API is %d %s", id, status, answer)
			}
		default:
			if status, answer := sendRequest(w, http.MethodGet, id, "", ""); status != http.StatusBadRequest {
				t.Errorf("%q: the response of the device API is %d %s", id, status, answer)
			}
		}
	}
}

// mostTargetBytes is the maximum size of a Target as JSON with managed fields, as in
// docs/operations.md.
const mostTargetBytes = 96 << 10

// TestAHostileDeviceMakesNoLargeTarget: a device sends attributes and reports of maximum size,
// through many updates that all fail. Its Target stays below the bound, further requests are
// refused with Retry-After, and its results are always stored.
func TestAHostileDeviceMakesNoLargeTarget(t *testing.T) {
	t.Parallel()
	w := world.New(t)
	w.Set("firmware-1", "1.0")
	name := w.Targets("hostile", 1, nil)[0]
	widest := strings.Repeat("<", 512) // 6 bytes each as JSON
	feedback := func(execution, finished string) string {
		return fmt.Sprintf(`{"status":{"execution":%q,"code":%q,"result":{"finished":%q},"details":[%s]}}`, execution, widest, finished,
			strings.Repeat(`"error: `+widest+`",`, 5)+`"error `+widest+`"`)
	}
	w.EventuallyTarget(name, "is known", func(t *v1alpha1.Target) bool { return t.Status.ControllerID == name })
	refused := 0
	for i := range 12 {
		w.Commit(&v1alpha1.Target{ObjectMeta: metav1.ObjectMeta{Name: name}}, fmt.Sprintf(`spec: {assignment: {distributionSet: firmware-1, assignedAt: "2026-01-01T00:00:%02dZ"}}`, i))
		var id string
		w.Eventually("the device is offered an update", func() string {
			_, answer := sendRequest(w, http.MethodGet, name, "", "")
			_, rest, found := strings.Cut(answer, "/deploymentBase/")
			if !found {
				return answer
			}
			id = rest[:strings.IndexAny(rest, `?"`)]
			return ""
		})
		w.Eventually("the update starts", func() string {
			if status, answer := sendRequest(w, http.MethodGet, name, "/deploymentBase/"+id, ""); status != http.StatusOK {
				return answer
			}
			return ""
		})
		for range 3 {
			sendRequest(w, http.MethodPost, name, "/deploymentBase/"+id+"/feedback", feedback("proceeding", "none"))
		}
		if status, answer := sendRequest(w, http.MethodPost, name, "/deploymentBase/"+id+"/feedback", feedback("closed", "failure")); status != http.StatusOK {
			t.Errorf("the response to result %d is %d %s", i, status, answer)
		}
		w.EventuallyTarget(name, "has failed", func(t *v1alpha1.Target) bool {
			a := action.Newest(&t.Status)
			return a != nil && strconv.Itoa(int(a.ID)) == id && a.State == v1alpha1.ActionError
		})
	}
	for i := range 60 {
		attributes := map[string]string{}
		for n := range 100 {
			attributes[fmt.Sprintf("%03d%s", n, strings.Repeat("k", 50))] = strconv.Itoa(i)
		}
		encoded, err := json.Marshal(attributes)
		if err != nil {
			t.Fatal(err)
		}
		for method, request := range map[string]struct{ path, body string }{
			http.MethodPut:  {"/configData", `{"data":` + string(encoded) + `}`},
			http.MethodPost: {"/confirmationBase/activateAutoConfirm", fmt.Sprintf(`{"initiator":%q,"remark":%q}`, strings.Repeat("<", 64), widest)},
		} {
			if status, _ := sendRequest(w, method, name, request.path, request.body); status == http.StatusTooManyRequests {
				refused++
			}
		}
	}
	if refused == 0 {
		t.Error("the device was never refused")
	}
	target := w.Target(name)
	encoded, err := json.Marshal(target)
	if err != nil {
		t.Fatal(err)
	}
	actions, _ := json.Marshal(target.Status.Actions)
	managed, _ := json.Marshal(target.ManagedFields)
	attributes, _ := json.Marshal(target.Status.Attributes)
	t.Logf("the Target takes %d bytes: actions %d, attributes %d, managed fields %d", len(encoded), len(actions), len(attributes), len(managed))
	if len(encoded) > mostTargetBytes {
		t.Errorf("the Target takes %d bytes, of at most %d", len(encoded), mostTargetBytes)
	}
	if len(target.Status.Attributes) == 0 || len(actions) < v1alpha1.MaxActionBytes/2 {
		t.Errorf("%d attributes, %d bytes of actions: the device did not reach the bounds", len(target.Status.Attributes), len(actions))
	}
}

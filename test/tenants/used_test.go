// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package tenants

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/deviceapi/kube"
	"github.com/goshawk-dev/goshawk/internal/devicesim"
	"github.com/goshawk-dev/goshawk/internal/manager"
	"github.com/goshawk-dev/goshawk/test/cluster"
	"github.com/goshawk-dev/goshawk/test/world"
)

var update = flag.Bool("update", false, "write config/rbac/README.md")

// A role of config/rbac or config/console.
type role struct {
	kind, name string
	rules      []rbacv1.PolicyRule
}

// rolesOfAccounts are the roles of the accounts.
var rolesOfAccounts = map[string][]string{
	consoleAccount:       {"ClusterRole goshawk-console", "ClusterRole goshawk-console-reviews", "ClusterRole goshawk-console-impersonation"},
	"goshawk-manager":    {"ClusterRole goshawk-manager", "Role goshawk-manager"},
	"goshawk-device-api": {"ClusterRole goshawk-device-api", "ClusterRole goshawk-device-api-tokens", "Role goshawk-device-api"},
}

// roles reads the roles of config/rbac and config/console, in the order of the files.
func roles(t *testing.T) []role {
	t.Helper()
	var list []role
	for _, file := range []string{"rbac/manager.yaml", "rbac/device-api.yaml", "console/rbac.yaml", "rbac/user_roles.yaml"} {
		decoder := yaml.NewYAMLOrJSONDecoder(strings.NewReader(fileOf(t, "config", filepath.FromSlash(file))), 4096)
		for {
			var object rbacv1.ClusterRole
			if err := decoder.Decode(&object); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			if object.Kind == "ClusterRole" || object.Kind == "Role" {
				list = append(list, role{object.Kind, object.Name, object.Rules})
			}
		}
	}
	return list
}

// table returns the verbs of a role by resource. A resource has its subresource, and a name if the
// right is for one object only.
func (r role) table() map[string][]string {
	verbs := map[string][]string{}
	for _, rule := range r.rules {
		for _, group := range rule.APIGroups {
			for _, resource := range rule.Resources {
				for _, name := range append(rule.ResourceNames, "")[:max(1, len(rule.ResourceNames))] {
					row := rowOf(group, resource, name)
					verbs[row] = append(verbs[row], rule.Verbs...)
				}
			}
		}
	}
	return verbs
}

func rowOf(group, resource, name string) string {
	resource, subresource, _ := strings.Cut(resource, "/")
	row := strings.TrimSuffix(resource+"."+group, ".")
	if subresource != "" {
		row += "/" + subresource
	}
	return strings.TrimSpace(row + " " + name)
}

var commonVerbs = []string{"get", "list", "watch", "create", "update", "patch", "delete"}

// TestRightsAreThoseOfTheTable compares config/rbac/README.md, which a reviewer reads, with the
// roles.
func TestRightsAreThoseOfTheTable(t *testing.T) {
	var b strings.Builder
	b.WriteString(`# Rights

Every right that the roles of this folder and of [../console](../console/rbac.yaml) grant. To write
this page again, run ` + "`go test ./test/tenants -run TestRightsAreThoseOfTheTable -update`" + `.

goshawk-manager is the account of the controllers, goshawk-device-api that of the device API,
goshawk-console that of the console ([docs/console.md](../../docs/console.md)); the other roles are
for people ([docs/rights.md](../../docs/rights.md)). A Role applies to the namespace of Goshawk
itself.
`)
	for _, r := range roles(t) {
		fmt.Fprintf(&b, "\n## %s %s\n\n| resource | %s | other |\n|---%s|---|\n", r.kind, r.name, strings.Join(commonVerbs, " | "), strings.Repeat("|:-:", len(commonVerbs)))
		rows := r.table()
		for _, row := range slices.Sorted(maps.Keys(rows)) {
			fmt.Fprintf(&b, "| %s |", row)
			for _, verb := range commonVerbs {
				mark := " "
				if slices.Contains(rows[row], verb) {
					mark = "x"
				}
				fmt.Fprintf(&b, " %s |", mark)
			}
			other := slices.DeleteFunc(slices.Clone(rows[row]), func(verb string) bool { return slices.Contains(commonVerbs, verb) })
			fmt.Fprintf(&b, " %s |\n", strings.Join(other, ", "))
		}
	}
	path := filepath.Join(cluster.Root(), "config", "rbac", "README.md")
	if *update {
		if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(fileOf(t, "config", "rbac", "README.md"), strings.TrimSpace(b.String())); diff != "" {
		t.Errorf("review the change, then run this test with -update (-page +roles):\n%s", diff)
	}
}

// usage has the rights that requests of the accounts have used, by account and by whether the
// request was to Goshawk's own namespace.
var usage = struct {
	sync.Mutex
	rights map[place]map[right]string // with an example
	writes world.Ledger
}{rights: map[place]map[right]string{}}

type place struct {
	account string
	system  bool
}

type right struct{ row, verb string }

// use records the rights that a request needs.
func use(account string, next http.RoundTripper) http.RoundTripper {
	next = usage.writes.Wrap(next)
	return roundTripper(func(request *http.Request) (*http.Response, error) {
		var body []byte
		if request.Body != nil {
			var err error
			if body, err = io.ReadAll(request.Body); err != nil {
				return nil, err
			}
			request = request.Clone(request.Context())
			request.Body = io.NopCloser(bytes.NewReader(body))
		}
		response, err := next.RoundTrip(request)
		if err != nil || response.StatusCode == http.StatusForbidden {
			return response, err
		}
		r := world.RequestOf(request)
		if r.Resource == "" {
			return response, nil // discovery, which every account may read
		}
		usage.Lock()
		defer usage.Unlock()
		at := place{account, r.Namespace == world.SystemNamespace}
		if usage.rights[at] == nil {
			usage.rights[at] = map[right]string{}
		}
		for _, needed := range needs(r, body) {
			usage.rights[at][needed] = request.Method + " " + request.URL.Path
		}
		return response, nil
	})
}

// needs returns the rights that a request needs. The admission plugin
// OwnerReferencesPermissionEnforcement, which some clusters use, checks the last two: for an owner
// that blocks its deletion, the right to update its finalizers, and for another owner of an object,
// the right to delete the object.
func needs(r world.Request, body []byte) []right {
	resource := r.Resource
	if r.Subresource != "" {
		resource += "/" + r.Subresource
	}
	rights := []right{{rowOf(r.Group, resource, ""), r.Verb}}
	var sent struct {
		Metadata struct{ OwnerReferences []metav1.OwnerReference }
	}
	if json.Unmarshal(body, &sent) != nil || r.Subresource != "" { // not JSON: a kind of Kubernetes, which Goshawk gives no owner
		return rights
	}
	for _, owner := range sent.Metadata.OwnerReferences {
		group, _, _ := strings.Cut(owner.APIVersion, "/")
		if owner.BlockOwnerDeletion != nil && *owner.BlockOwnerDeletion {
			rights = append(rights, right{rowOf(group, strings.ToLower(owner.Kind)+"s/finalizers", ""), "update"})
		}
		if r.Verb == "patch" {
			rights = append(rights, right{rowOf(r.Group, r.Resource, ""), "delete"})
		}
	}
	return rights
}

// usedElsewhere are the rights that no story of this package uses, and where they are needed.
var usedElsewhere = map[string]string{
	"Role goshawk-manager patch events.events.k8s.io":             "counts an event about the Secret of notifications that is repeated",
	"Role goshawk-manager patch events":                           "counts a change of the leader that has the text of an earlier one: client-go does so from the eleventh change within ten minutes",
	"ClusterRole goshawk-manager patch events.events.k8s.io":      "counts an event that is repeated for an object that has not changed since, such as InvalidationRecordFull",
	"ClusterRole goshawk-device-api patch events.events.k8s.io":   "counts an event that is repeated for an object that has not changed since, such as ArtifactFailed, once a minute",
	"ClusterRole goshawk-manager cancel targets.goshawk.dev":      "checked by config/policy when a rollout is deleted: TestGoshawksOwnWritesAreAccepted of test/policy",
	"ClusterRole goshawk-manager forcecancel targets.goshawk.dev": "checked by config/policy when a rollout is deleted: TestGoshawksOwnWritesAreAccepted of test/policy",
}

// TestEveryGrantedRightIsUsed runs both processes, each with its own account and under leader
// election, through the life of a fleet: devices are registered and report their software, a
// dynamic rollout runs, an auto-assignment exists, a target is deleted, a group and an inventory
// of another cluster are taken over, sets are invalidated with their rollouts, and a receiver gets
// notifications. Then people look at the console and pause a rollout there. Every right of
// config/rbac is used by a request, and every request has its right.
func TestEveryGrantedRightIsUsed(t *testing.T) {
	t.Parallel()
	namespace := served(t)
	watched := []string{namespace}
	devices := start(t, "goshawk-device-api", manager.Options{DeviceAPI: true, WatchNamespaces: watched, Backend: kube.Options{InventoryPrefix: "sw."}})
	secret := types.NamespacedName{Namespace: world.SystemNamespace, Name: "goshawk-notifications"}
	controllers := start(t, "goshawk-manager", manager.Options{Controllers: true, LeaderElect: true, WatchNamespaces: watched, NotificationsSecret: secret})
	notified := receiveNotifications(t, secret)
	lifeOfAFleet(t, devices.in(namespace))
	eventually(t, "the notification of the deleted rollout", func() string {
		if !notified("dev.goshawk.rollout.deleted.v1") {
			return "it has not arrived"
		}
		return ""
	})
	lookAtTheConsole(t, devices.in(namespace))
	for name, g := range map[string]*goshawk{"device API": devices, "controllers": controllers} {
		if forbidden := g.seen(); len(forbidden) > 0 {
			t.Errorf("the %s were refused %v", name, forbidden)
		}
	}
	eventually(t, "all rights", func() string { return strings.Join(unused(t), "\n") })
	if missing := ungranted(t); len(missing) > 0 {
		t.Errorf("used and not granted:\n%s", strings.Join(missing, "\n"))
	}
}

// receiveNotifications starts a receiver, and creates the Secret with it after the controllers have
// missed the Secret. It returns a function that reports whether an event of a type has arrived.
func receiveNotifications(t *testing.T, secret types.NamespacedName) func(eventType string) bool {
	t.Helper()
	var mu sync.Mutex
	types := map[string]bool{}
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var e struct{ Type string }
		_ = json.NewDecoder(r.Body).Decode(&e) // an event that cannot be read has no type
		mu.Lock()
		defer mu.Unlock()
		types[e.Type] = true
	}))
	t.Cleanup(server.Close)
	eventually(t, "an event about the Secret that is missing", func() string {
		usage.Lock()
		defer usage.Unlock()
		if _, used := usage.rights[place{"goshawk-manager", true}][right{"events.events.k8s.io", "create"}]; !used {
			return "there is none"
		}
		return ""
	})
	createSecret(t, secret.Namespace, secret.Name, corev1.SecretTypeOpaque, map[string]string{"url": server.URL, "allowHTTP": "true", "key": "a-key-with-more-than-24-characters"})
	return func(eventType string) bool {
		mu.Lock()
		defer mu.Unlock()
		return types[eventType]
	}
}

func lifeOfAFleet(t *testing.T, w *world.World) {
	t.Helper()
	createSecret(t, w.Namespace, "gateway", kube.TokenSecretType, map[string]string{"now": gatewayToken})
	w.Apply(factory)
	w.Set("firmware-1", "1.0")
	w.Set("firmware-2", "2.0")
	// The inventory of a Target of an earlier cluster: its owner does not exist.
	restored := &v1alpha1.TargetInventory{ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: "device-1",
		OwnerReferences: []metav1.OwnerReference{{APIVersion: v1alpha1.GroupVersion.String(), Kind: "Target", Name: "device-1", UID: "earlier", Controller: new(true)}}}}
	w.ApplySpec("AutoAssignment", "idle", `{update: {distributionSet: firmware-1}, targetSelector: {matchLabels: {site: none}}}`)
	register := func(behavior devicesim.Behavior, names ...string) {
		w.Play(func(c *devicesim.Config) {
			c.GatewayToken = gatewayToken
			for i := range c.Devices {
				c.Devices[i].Token = ""
			}
		}, behavior, names...)
		for _, name := range names {
			w.Eventually("the registration of "+name, func() string {
				return text(w.Client.Get(t.Context(), types.NamespacedName{Namespace: w.Namespace, Name: name}, &v1alpha1.Target{}))
			})
		}
	}
	updated := func(n int32) func(*v1alpha1.Rollout) bool {
		return func(r *v1alpha1.Rollout) bool { return r.Status.Targets != nil && r.Status.Targets.Succeeded == n }
	}
	register(devicesim.Obedient, "device-1", "device-2")
	w.ApplySpec("Rollout", "firmware-1", `
  update: {distributionSet: firmware-1, retries: {limit: 1, backoffSeconds: 0}}
  stabilizationSeconds: 0
  targetSelector: {matchLabels: {site: factory}}
  groupCount: 2
  dynamic: {}
  errorThreshold: 100`)
	gone := w.Targets("written", 1, nil)[0] // no rollout selects it, and no device runs that would be registered again
	w.EventuallyRollout("firmware-1", "updates the registered devices", updated(2))
	if err := w.Client.Create(t.Context(), restored); err != nil {
		t.Fatal(err)
	}
	for name, authorization := range map[string]string{"device-1": "GatewayToken " + gatewayToken, gone: "TargetToken " + world.Token} {
		w.Eventually("the inventory of "+name, func() string {
			report(t, w, name, authorization)
			o := &v1alpha1.TargetInventory{}
			if err := w.Client.Get(t.Context(), types.NamespacedName{Namespace: w.Namespace, Name: name}, o); err != nil {
				return err.Error()
			}
			if target := w.Target(name); !metav1.IsControlledBy(o, target) || len(o.Status.Installed) == 0 {
				return fmt.Sprintf("it is %+v", o)
			}
			return ""
		})
	}
	register(devicesim.Failing, "device-3") // joins
	w.EventuallyRollout("firmware-1", "counts the device that joined", func(r *v1alpha1.Rollout) bool { return r.Status.Targets.Failed == 1 })
	w.Kubectl("delete", "tgt", gone)
	w.Eventually("the inventory of the deleted target is deleted", func() string {
		if err := w.Client.Get(t.Context(), types.NamespacedName{Namespace: w.Namespace, Name: gone}, &v1alpha1.TargetInventory{}); !apierrors.IsNotFound(err) {
			return fmt.Sprint(err)
		}
		return ""
	})
	for _, set := range []string{"firmware-1", "firmware-2"} { // the second one is added to the record of the first
		w.Kubectl("patch", "distset", set, "--type=merge", "-p", `{"spec":{"invalidation":{"cancellation":"Force","deleteRollouts":true}}}`)
		w.Eventually("the invalidation of "+set, func() string {
			if s := w.DistributionSet(set); !world.Says(s.Status.Conditions, v1alpha1.ConditionInvalidated, metav1.ConditionTrue, v1alpha1.ReasonInvalidatedBySpec) {
				return "it is not recorded"
			}
			return ""
		})
	}
	w.Eventually("the deletion of the rollout", func() string {
		if err := w.Client.Get(t.Context(), types.NamespacedName{Namespace: w.Namespace, Name: "firmware-1"}, &v1alpha1.Rollout{}); !apierrors.IsNotFound(err) {
			return fmt.Sprint(err)
		}
		return ""
	})
}

// text returns the text of an error, or "".
func text(err error) string {
	if err != nil {
		return err.Error()
	}
	return ""
}

// report sends the software of a device.
func report(t *testing.T, w *world.World, device, authorization string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPut, w.DeviceAPI+"/"+w.Namespace+"/controller/v1/"+device+"/configData", strings.NewReader(`{"data":{"sw.org.example.driver":"1.0"}}`))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Authorization", authorization)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
}

// asGranted returns the verb under which a right is compared. An account that may list and watch a
// resource can read all of it, so get, list and watch are one right.
func asGranted(verb string) string {
	if slices.Contains([]string{"get", "list", "watch"}, verb) {
		return "read"
	}
	return verb
}

// accountRoles calls do for each role of the accounts.
func accountRoles(t *testing.T, do func(at place, r role)) {
	t.Helper()
	for _, r := range roles(t) {
		for account, names := range rolesOfAccounts {
			if slices.Contains(names, r.kind+" "+r.name) {
				do(place{account, r.kind == "Role"}, r)
			}
		}
	}
}

// unused returns the rights that are granted and that no request has used.
func unused(t *testing.T) []string {
	t.Helper()
	usage.Lock()
	defer usage.Unlock()
	var list []string
	accountRoles(t, func(at place, r role) {
		for row, verbs := range r.table() {
			resource, _, _ := strings.Cut(row, " ")
			for _, verb := range verbs {
				what := r.kind + " " + r.name + " " + verb + " " + row
				isUsed := false
				for used := range usage.rights[at] {
					isUsed = isUsed || used.row == resource && asGranted(used.verb) == asGranted(verb)
				}
				if _, elsewhere := usedElsewhere[what]; !isUsed && !elsewhere {
					list = append(list, what)
				}
			}
		}
	})
	slices.Sort(list)
	return list
}

// ungranted returns the rights that requests have used and that no role grants.
func ungranted(t *testing.T) []string {
	t.Helper()
	granted := map[place]map[right]bool{}
	accountRoles(t, func(at place, r role) {
		if granted[at] == nil {
			granted[at] = map[right]bool{}
		}
		for row, verbs := range r.table() {
			resource, _, _ := strings.Cut(row, " ")
			for _, verb := range verbs {
				granted[at][right{resource, verb}] = true
			}
		}
	})
	usage.Lock()
	defer usage.Unlock()
	var list []string
	for at, used := range usage.rights {
		for r, example := range used {
			if !granted[at][r] {
				list = append(list, fmt.Sprintf("%s: %s %s (%s)", at.account, r.verb, r.row, example))
			}
		}
	}
	slices.Sort(list)
	return list
}

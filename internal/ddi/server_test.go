// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package ddi_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/ddi"
	"github.com/goshawk-dev/goshawk/internal/ddi/wire"
	"github.com/goshawk-dev/goshawk/internal/deviceapi"
	"github.com/goshawk-dev/goshawk/internal/deviceapi/deviceapitest"
)

var update = flag.Bool("update", false, "rewrite the golden files")

const (
	root  = "/acme/controller/v1/dev1"
	token = "secret"
)

var device = deviceapi.Device{Namespace: "acme", ControllerID: "dev1"}

func backend() *deviceapitest.Backend {
	module := deviceapi.Module{
		ID: "9", Type: "application", Name: "rootfs", Version: "1.2",
		Artifacts: []deviceapi.Artifact{
			{FileName: "bundle 1.raucb", Size: 734003200, SHA1: "a1", MD5: "B2", SHA256: "c3", Downloads: []deviceapi.Download{
				{Protocol: "FTP", URL: "ftp://files.example/bundle"},
				{Protocol: deviceapi.HTTP, URL: "http://files.example/bundle?a=1&b=2"},
				{Protocol: deviceapi.HTTPS, URL: "https://files.example/bundle", MD5URL: "https://files.example/bundle.md5"},
			}},
			{FileName: "delta.swu", Size: 5, SHA256: "d4", Downloads: []deviceapi.Download{
				{Protocol: "SFTP", URL: "sftp://files.example/delta"},
				{Protocol: deviceapi.HTTPS, URL: "https://files.example/delta"},
			}},
			{FileName: "odd.swu", Size: 7, SHA256: "a7", Downloads: []deviceapi.Download{
				{Protocol: "FTP", URL: "ftp://files.example/odd"},
			}},
			{FileName: "nowhere.swu", Size: 6, MD5: "e5", SHA256: "f6"},
		},
		Metadata: []deviceapi.Metadata{{Key: "k", Value: "v"}},
	}
	return &deviceapitest.Backend{
		Tokens: map[deviceapi.Device]string{device: token},
		Script: &deviceapitest.Script{
			Offer:  deviceapi.State{Sleep: 5 * time.Minute},
			Module: module,
			Action: deviceapi.Deployment{
				ID: 31, Forced: true, Window: deviceapi.WindowOpen,
				Modules: []deviceapi.Module{module, {Type: "os", Name: "empty", Version: "1"}},
				History: deviceapi.History{State: "Retrieved", Messages: []string{"third", "second", "first"}},
			},
		},
	}
}

// newServer returns a device API whose tenants all have this backend.
func newServer(b deviceapi.Backend, options ddi.Options) (*ddi.Server, error) {
	return ddi.NewServer(func(string) (deviceapi.Backend, error) { return b, nil }, options)
}

// deviceAPI returns a device API without limits of rates; rates_test.go tests those.
func deviceAPI(t testing.TB, b deviceapi.Backend, change ...func(*ddi.Options)) *ddi.Server {
	t.Helper()
	boundless := deviceapi.Rate{PerSecond: -1}
	options := ddi.Options{Rates: deviceapi.Rates{Device: boundless, Guess: boundless, Address: boundless, Refusal: boundless, Global: boundless}}
	for _, c := range change {
		c(&options)
	}
	s, err := newServer(b, options)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// ask returns a request of dev1 with a request line such as "GET /path", headers such as "Name:
// value", and a body.
func ask(line string, rest ...string) *http.Request {
	method, target, _ := strings.Cut(line, " ")
	headers, body := rest, ""
	if method == "POST" || method == "PUT" {
		headers, body = rest[:len(rest)-1], rest[len(rest)-1]
	}
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	r.Host = "devices.example"
	r.RemoteAddr = "192.0.2.7:4711"
	r.Header.Set("Authorization", "TargetToken "+token)
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	return r
}

func answered(s http.Handler, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

// exchangeCase is a request, and what the backend returns.
type exchangeCase struct {
	script  func(*deviceapitest.Backend)
	request *http.Request
}

// resourceCases returns requests of every resource.
func resourceCases() map[string]exchangeCase {
	offer := func(change func(*deviceapi.State)) func(*deviceapitest.Backend) {
		return func(b *deviceapitest.Backend) { change(&b.Offer) }
	}
	as := func(*deviceapitest.Backend) {}
	const closed = `{"id":31,"status":{"execution":"closed","result":{"finished":"success"}}}`
	return map[string]exchangeCase{
		"base idle":                              {as, ask("GET " + root)},
		"base as plain JSON":                     {as, ask("GET "+root, "Accept: application/json;charset=UTF-8")},
		"deploymentBase by HEAD":                 {as, ask("HEAD " + root + "/deploymentBase/31")},
		"cancelAction by HEAD":                   {as, ask("HEAD " + root + "/cancelAction/31")},
		"confirmation by HEAD":                   {as, ask("HEAD " + root + "/confirmationBase/31")},
		"installedBase by HEAD":                  {as, ask("HEAD " + root + "/installedBase/31")},
		"artifacts by HEAD":                      {as, ask("HEAD " + root + "/softwaremodules/9/artifacts")},
		"deploymentBase unchanged":               {as, ask("GET "+root+"/deploymentBase/31", "If-None-Match: *")},
		"base by HEAD":                           {as, ask("HEAD " + root)},
		"base unchanged":                         {as, ask("GET "+root, `If-None-Match: "old", W/"6cc6898ee9f5d314"`)},
		"base offers a deployment":               {offer(func(p *deviceapi.State) { p.DeployID, p.CacheBuster, p.InstalledID = 31, "-217&x", 17 }), ask("GET " + root)},
		"base offers one without a cache buster": {offer(func(p *deviceapi.State) { p.DeployID = 2147483647 }), ask("GET " + root)},
		"base offers a cancel first":             {offer(func(p *deviceapi.State) { p.CancelID, p.ConfirmID, p.DeployID = 30, 31, 32 }), ask("GET " + root)},
		"base offers a confirmation second":      {offer(func(p *deviceapi.State) { p.ConfirmID, p.DeployID = 31, 32 }), ask("GET " + root)},
		"base asks for attributes":               {offer(func(p *deviceapi.State) { p.WantAttributes = true }), ask("GET " + root)},
		"deploymentBase":                         {as, ask("GET " + root + "/deploymentBase/31?c=whatever")},
		"deploymentBase with history":            {as, ask("GET " + root + "/deploymentBase/31?actionHistory=2")},
		"deploymentBase with all messages":       {as, ask("GET " + root + "/deploymentBase/31?actionHistory=-1")},
		"deploymentBase without chunks": {
			func(b *deviceapitest.Backend) {
				b.Action = deviceapi.Deployment{ID: 7, Forced: true, DownloadOnly: true}
			},
			ask("GET " + root + "/deploymentBase/7?actionHistory=0")},
		"deploymentBase of a download-only update in its window": {
			func(b *deviceapitest.Backend) {
				b.Action = deviceapi.Deployment{ID: 7, Forced: true, DownloadOnly: true, Window: deviceapi.WindowOpen}
			},
			ask("GET " + root + "/deploymentBase/7")},
		"deploymentBase of a soft update outside of its window": {
			func(b *deviceapitest.Backend) {
				b.Action = deviceapi.Deployment{ID: 7, Window: deviceapi.WindowClosed}
			},
			ask("GET " + root + "/deploymentBase/7")},
		"deploymentBase feedback":                    {as, ask("POST "+root+"/deploymentBase/31/feedback", closed)},
		"cancelAction":                               {as, ask("GET " + root + "/cancelAction/31")},
		"cancelAction feedback":                      {as, ask("POST "+root+"/cancelAction/31/feedback", closed)},
		"configData":                                 {as, ask("PUT "+root+"/configData", `{"mode":"replace","data":{"hw":"B","n":4,"old":null}}`)},
		"installedBase":                              {as, ask("GET " + root + "/installedBase/31?actionHistory=1")},
		"installedBase known":                        {as, ask("PUT "+root+"/installedBase", `{"name":"firmware","version":"2.1"}`)},
		"installedBase new":                          {func(b *deviceapitest.Backend) { b.Created = true }, ask("PUT "+root+"/installedBase", `{"name":"firmware","version":"2.1"}`)},
		"artifacts":                                  {as, ask("GET " + root + "/softwaremodules/9/artifacts")},
		"artifact over HTTP":                         {as, ask("GET " + root + "/softwaremodules/9/artifacts/bundle%201.raucb")},
		"artifact over HTTPS":                        {as, ask("GET https://devices.example" + root + "/softwaremodules/9/artifacts/bundle%201.raucb")},
		"artifact by HEAD":                           {as, ask("HEAD " + root + "/softwaremodules/9/artifacts/delta.swu")},
		"artifact without a download":                {as, ask("GET " + root + "/softwaremodules/9/artifacts/nowhere.swu")},
		"artifact unknown":                           {as, ask("GET " + root + "/softwaremodules/9/artifacts/other.swu")},
		"MD5 sum":                                    {as, ask("GET " + root + "/softwaremodules/9/artifacts/bundle%201.raucb.MD5SUM")},
		"MD5 sum not known":                          {as, ask("GET " + root + "/softwaremodules/9/artifacts/delta.swu.MD5SUM")},
		"MD5 sum that is a file of the module":       {func(b *deviceapitest.Backend) { b.Module.Artifacts[1].FileName = "bundle 1.raucb.MD5SUM" }, ask("GET " + root + "/softwaremodules/9/artifacts/bundle%201.raucb.MD5SUM")},
		"module unknown":                             {as, ask("GET " + root + "/softwaremodules/8/artifacts")},
		"confirmationBase":                           {as, ask("GET " + root + "/confirmationBase")},
		"confirmationBase by HEAD":                   {as, ask("HEAD " + root + "/confirmationBase")},
		"confirmationBase with an action that waits": {func(b *deviceapitest.Backend) { b.Stance = deviceapi.Consent{ConfirmID: 31, CacheBuster: "-217&x"} }, ask("GET " + root + "/confirmationBase")},
		"confirmationBase with auto-confirm": {func(b *deviceapitest.Backend) {
			b.Stance = deviceapi.Consent{Active: true, Initiator: "ada", Remark: "night shift <&>", ActivatedAt: time.UnixMilli(1700000000123)}
		}, ask("GET " + root + "/confirmationBase")},
		"confirmationBase with auto-confirm without texts": {func(b *deviceapitest.Backend) { b.Stance = deviceapi.Consent{Active: true} }, ask("GET " + root + "/confirmationBase")},
		"base offers a confirmation with a cache buster":   {offer(func(p *deviceapi.State) { p.ConfirmID, p.CacheBuster = 31, "-217&x" }), ask("GET " + root)},
		"confirmation":                          {as, ask("GET " + root + "/confirmationBase/31?c=whatever")},
		"confirmation with history":             {as, ask("GET " + root + "/confirmationBase/31?actionHistory=2")},
		"confirmation feedback":                 {as, ask("POST "+root+"/confirmationBase/31/feedback", `{"confirmation":"confirmed","code":1,"details":["yes"]}`)},
		"confirmation feedback that denies":     {as, ask("POST "+root+"/confirmationBase/31/feedback", `{"confirmation":"denied"}`)},
		"auto-confirm activated":                {as, ask("POST "+root+"/confirmationBase/activateAutoConfirm", `{"initiator":"ada","remark":"night shift"}`)},
		"auto-confirm activated without a body": {as, ask("POST "+root+"/confirmationBase/activateAutoConfirm", "")},
		"auto-confirm activated without texts":  {as, ask("POST "+root+"/confirmationBase/activateAutoConfirm", `{}`)},
		"auto-confirm activated with long texts": {as, ask("POST "+root+"/confirmationBase/activateAutoConfirm",
			fmt.Sprintf(`{"initiator":%q,"remark":%q}`, strings.Repeat("é", 64), strings.Repeat("é", 512)))},
		"auto-confirm activated twice": {func(b *deviceapitest.Backend) {
			b.Errors = map[string]error{"ActivateAutoConfirm": deviceapi.ErrConflict}
		},
			ask("POST "+root+"/confirmationBase/activateAutoConfirm", `{}`)},
		"auto-confirm deactivated": {as, ask("POST "+root+"/confirmationBase/deactivateAutoConfirm", "")},
	}
}

func TestResources(t *testing.T) {
	for name, tc := range resourceCases() {
		t.Run(name, func(t *testing.T) {
			b := backend()
			tc.script(b)
			golden(t, "resources/"+name, exchange(tc.request, answered(deviceAPI(t, b), tc.request), b.Calls()))
		})
	}
}

func TestRefusals(t *testing.T) {
	const intermediate = `{"status":{"execution":"proceeding","result":{"finished":"none"}}}`
	report0 := ask("POST "+root+"/deploymentBase/0/feedback", intermediate)
	fetch := func() *http.Request { return ask("GET " + root + "/deploymentBase/31") }
	report := func(body string, headers ...string) *http.Request {
		return ask("POST "+root+"/deploymentBase/31/feedback", append(headers, body)...)
	}
	tests := map[string]struct {
		fails   error
		request *http.Request
	}{
		"backend unauthorized":                {deviceapi.ErrUnauthorized, fetch()},
		"backend not found":                   {fmt.Errorf("target %q: %w", "dev1", deviceapi.ErrNotFound), fetch()},
		"backend gone":                        {deviceapi.ErrGone, report(intermediate)},
		"backend not allowed":                 {deviceapi.ErrNotAllowed, ask("POST "+root+"/cancelAction/31/feedback", intermediate)},
		"backend conflict":                    {deviceapi.ErrConflict, report(intermediate)},
		"backend quota":                       {deviceapi.ErrTooMany, ask("PUT "+root+"/configData", `{"data":{"a":"b"}}`)},
		"backend bad request":                 {deviceapi.BadRequest{Reason: `data["a b"]: a name may not hold blanks`}, ask("PUT "+root+"/configData", `{"data":{"a b":"c"}}`)},
		"backend not synced":                  {deviceapi.Unavailable{}, ask("GET " + root)},
		"backend unavailable for some time":   {fmt.Errorf("poll: %w", deviceapi.Unavailable{RetryAfter: 1500 * time.Millisecond, Cause: errors.New("etcd")}), ask("GET " + root)},
		"backend fails":                       {errors.New("secret internals"), fetch()},
		"no such path":                        {nil, ask("GET /acme/controller/v2/dev1")},
		"no such path below a device":         {nil, ask("GET " + root + "/")},
		"method":                              {nil, ask("DELETE " + root)},
		"no credentials":                      {nil, ask("GET "+root, "Authorization: ")},
		"another scheme":                      {nil, ask("GET "+root, "Authorization: Bearer "+token)},
		"scheme without token":                {nil, ask("GET "+root, "Authorization: TargetToken")},
		"wrong token":                         {nil, ask("GET "+root, "Authorization: TargetToken wrong")},
		"unknown device":                      {nil, ask("GET /acme/controller/v1/dev2")},
		"unknown tenant":                      {nil, ask("GET /other/controller/v1/dev1")},
		"id with a space":                     {nil, ask("GET /acme/controller/v1/dev%201")},
		"id of dots":                          {nil, ask("GET /acme/controller/v1/%2e%2E")},
		"id with a control character":         {nil, ask("GET /acme/controller/v1/dev%001")},
		"id that is not UTF-8":                {nil, ask("GET /acme/controller/v1/dev%ff")},
		"id too long":                         {nil, ask("GET /acme/controller/v1/" + strings.Repeat("x", 257))},
		"tenant with a space":                 {nil, ask("GET /%20/controller/v1/dev1")},
		"action id with letters":              {nil, ask("GET " + root + "/deploymentBase/act-1")},
		"action id with a sign":               {nil, ask("GET " + root + "/installedBase/-1")},
		"action id too large":                 {nil, ask("GET " + root + "/cancelAction/2147483648")},
		"action id zero":                      {nil, report0},
		"history that is not a number":        {nil, ask("GET " + root + "/deploymentBase/31?actionHistory=all")},
		"accepts XML":                         {nil, ask("GET "+root+"/deploymentBase/31", "Accept: application/xml")},
		"sends JSON as CBOR":                  {nil, report(intermediate, "Content-Type: application/cbor")},
		"sends CBOR without a status":         {nil, report("\xa0", "Content-Type: application/cbor")},
		"sends CBOR that ends too early":      {nil, report("\xa1\x66status", "Content-Type: application/cbor")},
		"sends CBOR with a number as name":    {nil, report("\xa1\x01\x02", "Content-Type: application/cbor")},
		"accepts only CBOR":                   {nil, ask("GET "+root+"/deploymentBase/x", "Accept: application/cbor")},
		"sends HAL":                           {nil, report(intermediate, "Content-Type: application/hal+json")},
		"sends a form":                        {nil, ask("PUT "+root+"/configData", "Content-Type: application/x-www-form-urlencoded", "a=b")},
		"sends nothing":                       {nil, ask("PUT "+root+"/configData", "Content-Type: application/json", "")},
		"sends no JSON":                       {nil, report(`{"status":`)},
		"sends a list":                        {nil, report(`[]`)},
		"sends no status":                     {nil, report(`{}`)},
		"sends an unknown execution":          {nil, report(`{"status":{"execution":"done","result":{"finished":"success"}}}`)},
		"sends a long execution":              {nil, report(`{"status":{"execution":"` + strings.Repeat("é", 4000) + `","result":{"finished":"success"}}}`)},
		"sends no data":                       {nil, ask("PUT "+root+"/configData", `{"mode":"merge"}`)},
		"sends a set without version":         {nil, ask("PUT "+root+"/installedBase", `{"name":"firmware"}`)},
		"confirms an unknown action":          {deviceapi.ErrNotFound, ask("POST "+root+"/confirmationBase/31/feedback", `{"confirmation":"confirmed"}`)},
		"confirms a closed action":            {deviceapi.ErrGone, ask("POST "+root+"/confirmationBase/31/feedback", `{"confirmation":"confirmed"}`)},
		"sends no confirmation":               {nil, ask("POST "+root+"/confirmationBase/31/feedback", `{"code":1}`)},
		"sends another confirmation":          {nil, ask("POST "+root+"/confirmationBase/31/feedback", `{"confirmation":"maybe"}`)},
		"confirms an id that is not a number": {nil, ask("POST "+root+"/confirmationBase/all/feedback", `{"confirmation":"confirmed"}`)},
		"a GET of an activation":              {nil, ask("GET " + root + "/confirmationBase/activateAutoConfirm")},
		"sends a long initiator":              {nil, ask("POST "+root+"/confirmationBase/activateAutoConfirm", `{"initiator":"`+strings.Repeat("é", 65)+`"}`)},
		"sends a long remark":                 {nil, ask("POST "+root+"/confirmationBase/activateAutoConfirm", `{"remark":"`+strings.Repeat("é", 513)+`"}`)},
		"activates with a form":               {nil, ask("POST "+root+"/confirmationBase/activateAutoConfirm", "Content-Type: application/x-www-form-urlencoded", "a=b")},
		"sends too much":                      {nil, report(`{"x":"` + strings.Repeat("x", 64<<10) + `"}`)},
		"sends too many details":              {nil, report(`{"status":{"execution":"proceeding","result":{"finished":"none"},"details":[` + strings.Repeat(`"x",`, 50) + `"x"]}}`)},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			b := backend()
			if tc.fails != nil {
				b.Errors = map[string]error{}
				for _, method := range []string{"State", "Deployment", "Report", "AnswerCancel", "Confirm", "Attributes"} {
					b.Errors[method] = tc.fails
				}
			}
			w := answered(deviceAPI(t, b), tc.request)
			if calls := b.Calls(); tc.fails == nil && len(calls) > 0 {
				t.Errorf("the backend was asked: %v", calls)
			}
			golden(t, "refusals/"+name, exchange(tc.request, w, nil))
		})
	}
}

// exchange returns the text of a request, its response and the calls of the backend.
func exchange(r *http.Request, w *httptest.ResponseRecorder, calls []deviceapitest.Call) []byte {
	var out bytes.Buffer
	target := r.URL.RequestURI()
	if len(target) > 100 {
		target = target[:100] + "…"
	}
	fmt.Fprintf(&out, "%s %s\n%d %s\n", r.Method, target, w.Code, http.StatusText(w.Code))
	for _, name := range slices.Sorted(maps.Keys(w.Header())) {
		fmt.Fprintf(&out, "%s: %s\n", name, w.Header().Get(name))
	}
	var pretty bytes.Buffer
	switch body := w.Body.Bytes(); {
	case len(body) == 0:
	case json.Indent(&pretty, body, "", "  ") == nil:
		fmt.Fprintf(&out, "\n%s\n", pretty.Bytes())
	default:
		fmt.Fprintf(&out, "\n%s\n", body)
	}
	for _, call := range calls {
		args, _ := json.Marshal(call.Args)
		fmt.Fprintf(&out, "\nbackend: %s %s/%s %s\n", call.Method, call.Device.Namespace, call.Device.ControllerID, args)
	}
	return out.Bytes()
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", strings.ReplaceAll(name, " ", "-")+".txt")
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-golden +got):\n%s", file, diff)
	}
}

// TestAuthorizationHidesIDs: the response to a wrong token is the same for a known and an unknown
// controllerID.
func TestAuthorizationHidesIDs(t *testing.T) {
	s := deviceAPI(t, backend())
	wrong := answered(s, ask("GET "+root, "Authorization: TargetToken wrong"))
	unknown := answered(s, ask("GET /acme/controller/v1/dev2"))
	if wrong.Code != http.StatusUnauthorized || unknown.Code != http.StatusUnauthorized {
		t.Errorf("codes %d and %d, want 401 twice", wrong.Code, unknown.Code)
	}
	if diff := cmp.Diff(wrong.Header(), unknown.Header()); diff != "" {
		t.Errorf("headers differ:\n%s", diff)
	}
	if wrong.Body.String() != unknown.Body.String() {
		t.Errorf("bodies differ: %s and %s", wrong.Body, unknown.Body)
	}
}

func TestTokenSchemeIsCaseInsensitive(t *testing.T) {
	for _, value := range []string{"TargetToken secret", "targettoken secret", "TARGETTOKEN  secret "} {
		if w := answered(deviceAPI(t, backend()), ask("GET "+root, "Authorization: "+value)); w.Code != http.StatusOK {
			t.Errorf("%q: %d, want 200", value, w.Code)
		}
	}
}

// TestEscapedIDs: the backend gets the controllerID unescaped, and links contain it escaped.
func TestEscapedIDs(t *testing.T) {
	for _, id := range []string{"ABC:123", "a/b", "ü", "50%", "a+b", "q?x#y", `"<&>"`, "...", strings.Repeat("é", 256)} {
		b := backend()
		odd := deviceapi.Device{Namespace: "acme", ControllerID: id}
		b.Tokens[odd] = token
		b.Offer.DeployID = 31
		s := deviceAPI(t, b)
		w := answered(s, ask("GET "+wire.RootPath(odd.Namespace, odd.ControllerID)))
		if w.Code != http.StatusOK {
			t.Errorf("%q: %d %s", id, w.Code, w.Body)
			continue
		}
		var base wire.Base
		if err := json.Unmarshal(w.Body.Bytes(), &base); err != nil {
			t.Errorf("%q: %v in %s", id, err, w.Body)
			continue
		}
		if w := answered(s, ask("GET "+strings.TrimPrefix(base.Links.DeploymentBase.Href, "http://devices.example"))); w.Code != http.StatusOK {
			t.Errorf("%q: the link %s answers %d", id, base.Links.DeploymentBase.Href, w.Code)
		}
		for _, call := range b.Calls() {
			if call.Device != odd {
				t.Errorf("%q: the backend was asked about %v", id, call.Device)
			}
		}
	}
}

// TestReportsOfRealClients sends bodies as swupdate 2022.12 and rauc-hawkbit-updater write them.
// The backend gets each of them as a report, in whatever order they arrive.
func TestReportsOfRealClients(t *testing.T) {
	reports := []struct {
		path, body string
		want       action.Report
	}{
		{"deploymentBase/17", `{ "id": 17, "time": "20240311T091500", "status": { "result": { "progress": { "cnt" : 1, "of" : 0 }, "finished": "success" }, "execution": "closed", "details" : [ "Update Installed." ] } }`,
			action.Report{ID: 17, Event: action.Succeed, Stage: "closed", Details: []string{"Update Installed."}}},
		{"deploymentBase/17", `{ "id": 17, "time": "20240311T091400", "status": { "result": { "progress": { "cnt" : 0, "of" : 1 }, "finished": "none" }, "execution": "proceeding", "details" : [ "Installing Update Chunk Artifacts." ] } }`,
			action.Report{ID: 17, Event: action.Proceed, Stage: "proceeding", Progress: new(int32(0)), Details: []string{"Installing Update Chunk Artifacts."}}},
		{"cancelAction/17", `{"id":"18","time":"20240311T081500","status":{"result":{"finished":"success"},"execution":"rejected","details":["Cancellation impossible, installation started already."]}}`,
			action.Report{ID: 17, Event: action.CancelRejected, Stage: "rejected", Details: []string{"Cancellation impossible, installation started already."}}},
		{"deploymentBase/17", `{"id":"17","time":"20240311T081500","status":{"result":{"finished":"none"},"execution":"proceeding","details":["Copying image to rootfs.1"]}}`,
			action.Report{ID: 17, Event: action.Proceed, Stage: "proceeding", Details: []string{"Copying image to rootfs.1"}}},
		{"cancelAction/17", `{ "id": 17, "time": "20240311T091500", "status": { "result": { "finished": "success" }, "execution": "closed", "details" : [ "cancellation acknowledged." ] } }`,
			action.Report{ID: 17, Event: action.CancelAccepted, Stage: "closed", Details: []string{"cancellation acknowledged."}}},
		{"deploymentBase/17", `{"status":{"execution":"closed","result":{"finished":"failure"},"code":17}}`,
			action.Report{ID: 17, Event: action.Fail, Stage: "closed", StatusCode: "17"}},
	}
	b := backend()
	s := deviceAPI(t, b)
	for i, report := range reports {
		w := answered(s, ask("POST "+root+"/"+report.path+"/feedback", "Content-Type: application/json;charset=UTF-8", report.body))
		if w.Code != http.StatusOK || w.Body.Len() != 0 {
			t.Fatalf("%s: %d %s", report.body, w.Code, w.Body)
		}
		call := b.Calls()[i]
		method := map[bool]string{true: "Report", false: "AnswerCancel"}[strings.HasPrefix(report.path, "deployment")]
		if call.Method != method {
			t.Errorf("%s went to %s", report.body, call.Method)
		}
		if diff := cmp.Diff(report.want, call.Args[0].(action.Report), cmpopts.IgnoreUnexported(action.Report{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", report.body, diff)
		}
	}
}

type counter struct {
	io.Reader
	n int
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n += n
	return n, err
}

// TestExpect100Continue: swupdate sends the header Expect: 100-continue before a body. The response
// is 100, or the refusal, before the body arrives.
func TestExpect100Continue(t *testing.T) {
	tests := map[string]struct {
		token  string
		length int
		want   string
	}{
		"a body":           {token, 20, "HTTP/1.1 100 Continue"},
		"a body too large": {token, 70 << 10, "HTTP/1.1 413 Request Entity Too Large"},
		"a wrong token":    {"wrong", 20, "HTTP/1.1 401 Unauthorized"},
	}
	server := httptest.NewServer(deviceAPI(t, backend()))
	t.Cleanup(server.Close)
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			conn, err := net.Dial("tcp", server.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(conn, "PUT %s/configData HTTP/1.1\r\nHost: devices\r\nAuthorization: TargetToken %s\r\n"+
				"Content-Type: application/json\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n", root, tc.token, tc.length)
			line, err := bufio.NewReader(conn).ReadString('\n')
			if got := strings.TrimSpace(line); err != nil || got != tc.want {
				t.Errorf("%q, %v, want %q", got, err, tc.want)
			}
		})
	}
}

// TestOverTheNetwork tests what a response recorder does not do: 100-continue, HEAD, lengths, and a
// client that follows the redirect with its method and range.
func TestOverTheNetwork(t *testing.T) {
	var fetched []string
	files := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fetched = append(fetched, r.Method+" "+r.Header.Get("Range"))
		_, _ = io.WriteString(w, "image")
	}))
	defer files.Close()
	b := backend()
	b.Module.Artifacts[1].Downloads[1].URL = files.URL
	b.Action.Modules = slices.Repeat(b.Action.Modules, 20)
	server := httptest.NewServer(deviceAPI(t, b))
	defer server.Close()
	send := func(method, path, body string, headers ...string) *http.Response {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, server.URL+root+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "TargetToken "+token)
		for _, h := range headers {
			name, value, _ := strings.Cut(h, ": ")
			r.Header.Set(name, value)
		}
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(response.Body)
		if err != nil || method != http.MethodHead && response.ContentLength != int64(len(content)) {
			t.Errorf("%s %s: length %d, content of %d, %v", method, path, response.ContentLength, len(content), err)
		}
		response.Body.Close()
		return response
	}

	json := "Content-Type: application/json"
	if r := send("PUT", "/configData", `{"data":{"hw":"B"}}`, json, "Expect: 100-continue"); r.StatusCode != http.StatusOK {
		t.Errorf("a body after 100-continue: %d", r.StatusCode)
	}
	if r := send("GET", "/deploymentBase/31", ""); r.ContentLength < 4096 {
		t.Errorf("a long document has the length %d; want more than net/http measures by itself", r.ContentLength)
	}
	if get, head := send("GET", "", ""), send("HEAD", "", ""); head.StatusCode != http.StatusOK || head.ContentLength != get.ContentLength {
		t.Errorf("HEAD: %d with length %d, GET has %d", head.StatusCode, head.ContentLength, get.ContentLength)
	}
	artifact := "/softwaremodules/9/artifacts/delta.swu"
	send("HEAD", artifact, "")
	if r := send("GET", artifact, "", "Range: bytes=9-"); r.Request.URL.Host == "" || len(fetched) != 2 {
		t.Fatalf("fetched %q", fetched)
	}
	if diff := cmp.Diff([]string{"HEAD ", "GET bytes=9-"}, fetched); diff != "" {
		t.Errorf("fetched (-want +got):\n%s", diff)
	}
}

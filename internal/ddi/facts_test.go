// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package ddi_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/goshawk-dev/goshawk/internal/ddi"
	"github.com/goshawk-dev/goshawk/internal/deviceapi"
	"github.com/goshawk-dev/goshawk/internal/deviceapi/deviceapitest"
)

// situation is the state of the device before a request. Each one contains the requests that lead
// to it; "cancel" means that a user cancels the update.
type situation struct {
	confirm, downloadOnly bool
	before                []string
}

// Requests have the body behind the path.
const (
	getDeployment   = "GET /deploymentBase/100"
	getConfirmation = "GET /confirmationBase/100"
	reportProgress  = `POST /deploymentBase/100/feedback {"status":{"execution":"proceeding","result":{"finished":"none"},"details":["writes"]}}`
	reportSuccess   = `POST /deploymentBase/100/feedback {"status":{"execution":"closed","result":{"finished":"success"}}}`
	reportFailure   = `POST /deploymentBase/100/feedback {"status":{"execution":"closed","result":{"finished":"failure"}}}`
	acceptCancel    = `POST /cancelAction/100/feedback {"status":{"execution":"closed","result":{"finished":"success"}}}`
	rejectCancel    = `POST /cancelAction/100/feedback {"status":{"execution":"rejected","result":{"finished":"success"}}}`
	confirm         = `POST /confirmationBase/100/feedback {"confirmation":"confirmed","code":1,"details":["yes"]}`
	deny            = `POST /confirmationBase/100/feedback {"confirmation":"denied"}`
	activate        = `POST /confirmationBase/activateAutoConfirm {"initiator":"ada"}`
	sendAttributes  = `PUT /configData {"mode":"merge","data":{"hw":"B"}}`
	userCancels     = "cancel"
)

var (
	offered   = situation{}
	started   = situation{before: []string{getDeployment}}
	finished  = situation{before: []string{getDeployment, reportSuccess}}
	failed    = situation{before: []string{getDeployment, reportFailure}}
	canceling = situation{before: []string{getDeployment, userCancels}}
	canceled  = situation{before: []string{getDeployment, userCancels, acceptCancel}}
	goingOn   = situation{before: []string{getDeployment, userCancels, rejectCancel}}
	waiting   = situation{confirm: true, before: []string{getConfirmation}}
	confirmed = situation{confirm: true, before: []string{getConfirmation, confirm}}
	idle      = situation{before: []string{userCancels}}
)

// inSituation returns a device API whose device is in a situation, and its backend.
func inSituation(t *testing.T, s situation) (*ddi.Server, *deviceapitest.Backend) {
	t.Helper()
	module := deviceapi.Module{ID: "os-1", Type: "application", Name: "rootfs", Version: "1.2", Metadata: []deviceapi.Metadata{{Key: "k", Value: "v"}},
		Artifacts: []deviceapi.Artifact{{FileName: "bundle.raucb", Size: 734003200, SHA1: "a1", MD5: "b2", SHA256: "c3",
			Downloads: []deviceapi.Download{{Protocol: deviceapi.HTTP, URL: "http://files.example/bundle"}}}}}
	b := &deviceapitest.Backend{
		Tokens: map[deviceapi.Device]string{device: token},
		Update: &deviceapitest.Update{Set: deviceapitest.Set{Name: "firmware", Version: "1.0", Modules: []deviceapi.Module{module}}, Confirm: s.confirm, DownloadOnly: s.downloadOnly},
		Sets:   []deviceapitest.Set{{Name: "broken", Version: "1", Fault: "module os is missing"}},
	}
	server := deviceAPI(t, b)
	for _, request := range s.before {
		if request == userCancels {
			b.CancelUpdate(device)
		} else if w := send(server, request); w.Code != http.StatusOK {
			t.Fatalf("%s: %d %s", request, w.Code, w.Body)
		}
	}
	return server, b
}

// send sends a request with the body behind the path.
func send(s http.Handler, request string, headers ...string) *httptest.ResponseRecorder {
	method, rest, _ := strings.Cut(request, " ")
	path, body, _ := strings.Cut(rest, " ")
	if method == http.MethodPost || method == http.MethodPut {
		headers = append(headers, body)
	}
	return answered(s, ask(method+" "+root+path, headers...))
}

// fact is one statement about a resource.
type fact struct {
	name    string
	in      situation
	request string
	status  int
	// has are texts of the body, and hasNot texts that it does not contain.
	has, hasNot []string
}

const linkRoot = "http://devices.example" + root

// facts are the statements of hawkBit's documentation about the 16 resources of DDI.
var facts = map[string][]fact{
	"1 base": {
		{"an idle device", idle, "GET ", 200, []string{`{"config":{"polling":{"sleep":"00:05:00"}}`}, []string{"deploymentBase", "cancelAction", "confirmationBase", "installedBase"}},
		{"a deployment, with a cache buster", offered, "GET ", 200, []string{`"deploymentBase":{"href":"` + linkRoot + `/deploymentBase/100?c=1"}`}, []string{"cancelAction", "confirmationBase"}},
		{"a deployment that has started", started, "GET ", 200, []string{`"deploymentBase"`}, []string{"cancelAction", "confirmationBase"}},
		{"a cancel", canceling, "GET ", 200, []string{`"cancelAction":{"href":"` + linkRoot + `/cancelAction/100"}`}, []string{"deploymentBase", "confirmationBase"}},
		{"a confirmation", waiting, "GET ", 200, []string{`"confirmationBase":{"href":"` + linkRoot + `/confirmationBase/100?c=1"}`}, []string{"deploymentBase", "cancelAction"}},
		{"what is installed", finished, "GET ", 200, []string{`"installedBase":{"href":"` + linkRoot + `/installedBase/100"}`, `"configData":{"href":"` + linkRoot + `/configData"}`}, []string{"deploymentBase"}},
		{"no attributes after they were sent", situation{before: []string{sendAttributes}}, "GET ", 200, nil, []string{"configData"}},
		{"attributes again after a success", situation{before: []string{sendAttributes, getDeployment, reportSuccess}}, "GET ", 200, []string{"configData"}, nil},
		{"nothing is installed after a failure", failed, "GET ", 200, nil, []string{"installedBase", "deploymentBase"}},
	},
	"2 deploymentBase": {
		{"all fields", offered, getDeployment + "?c=-217", 200, []string{`{"id":"100","deployment":{"download":"forced","update":"forced","chunks":[{"part":"bApp","version":"1.2","name":"rootfs","artifacts":[{"filename":"bundle.raucb","size":734003200,` +
			`"hashes":{"sha1":"a1","md5":"b2","sha256":"c3"},"_links":{"download":{"href":"`, `"download-http":{"href":"`, `"md5sum":{"href":"`, `"md5sum-http":{"href":"`, `"metadata":[{"key":"k","value":"v"}]`}, []string{"maintenanceWindow", "actionHistory", "encrypted"}},
		{"a download-only update", situation{downloadOnly: true}, getDeployment, 200, []string{`"download":"forced","update":"skip"`}, nil},
		{"a history", situation{before: []string{getDeployment, reportProgress}}, getDeployment + "?actionHistory=1", 200, []string{`"actionHistory":{"status":"RUNNING","messages":["writes"]}`}, nil},
		{"a history without messages", started, getDeployment + "?actionHistory=-1", 200, []string{`"actionHistory":{"status":"RETRIEVED","messages":[]}`}, nil},
		{"one that has finished", finished, getDeployment, 200, []string{`"id":"100"`}, nil},
		{"one that has failed", failed, getDeployment, 200, []string{`"id":"100"`}, nil},
		{"one after a rejected cancel", goingOn, getDeployment, 200, []string{`"id":"100"`}, nil},
		{"one that is being canceled", canceling, getDeployment, 404, []string{"entitiyNotFound"}, nil},
		{"one that is canceled", canceled, getDeployment, 404, []string{"entitiyNotFound"}, nil},
		{"one that waits for confirmation", waiting, getDeployment, 404, []string{"entitiyNotFound"}, nil},
		{"an unknown one", offered, "GET /deploymentBase/7", 404, []string{"entitiyNotFound"}, nil},
		{"an id that is not a number", offered, "GET /deploymentBase/a", 400, []string{"notReadable"}, nil},
	},
	"3 deploymentBase feedback": {
		{"progress", started, reportProgress, 200, nil, []string{"{"}},
		{"a success", started, reportSuccess, 200, nil, []string{"{"}},
		{"a failure", started, reportFailure, 200, nil, []string{"{"}},
		{"fields of older clients", started, `POST /deploymentBase/100/feedback {"id":"100","time":"20240311T091500","status":{"result":{"progress":{"cnt":1,"of":0},"finished":"success"},"execution":"closed","details":["ok"]}}`, 200, nil, []string{"{"}},
		{"an unknown field", started, `POST /deploymentBase/100/feedback {"new":{},"status":{"execution":"closed","result":{"finished":"success","also":1}}}`, 200, nil, nil},
		{"resumed", started, `POST /deploymentBase/100/feedback {"status":{"execution":"resumed","result":{"finished":"none"}}}`, 200, nil, nil},
		{"no execution", started, `POST /deploymentBase/100/feedback {"status":{"result":{"finished":"none"}}}`, 400, []string{"status.execution"}, nil},
		{"no result", started, `POST /deploymentBase/100/feedback {"status":{"execution":"closed"}}`, 400, []string{"status.result.finished"}, nil},
		{"no JSON", started, `POST /deploymentBase/100/feedback {`, 400, []string{"notReadable"}, nil},
		{"an update that waits for confirmation", waiting, reportSuccess, 404, []string{"entitiyNotFound"}, nil},
		{"an update that is closed", finished, reportSuccess, 410, []string{"closed"}, nil},
		{"an update that is canceled", canceled, reportSuccess, 410, []string{"closed"}, nil},
		{"a success instead of the answer to a cancel", canceling, reportSuccess, 200, nil, nil},
	},
	"4 cancelAction": {
		{"both ids are that of the action", canceling, "GET /cancelAction/100", 200, []string{`{"id":"100","cancelAction":{"stopId":"100"}}`}, nil},
		{"no cancel", started, "GET /cancelAction/100", 404, []string{"entitiyNotFound"}, nil},
		{"a cancel that was answered", canceled, "GET /cancelAction/100", 200, []string{`{"id":"100","cancelAction":{"stopId":"100"}}`}, nil},
		{"a cancel that was rejected", goingOn, "GET /cancelAction/100", 404, []string{"entitiyNotFound"}, nil},
		{"an update that is closed", finished, "GET /cancelAction/100", 404, []string{"entitiyNotFound"}, nil},
		{"an unknown action", canceling, "GET /cancelAction/7", 404, []string{"entitiyNotFound"}, nil},
	},
	"5 cancelAction feedback": {
		{"the device has canceled", canceling, acceptCancel, 200, nil, []string{"{"}},
		{"the device goes on", canceling, rejectCancel, 200, nil, []string{"{"}},
		{"no cancel", started, acceptCancel, 405, []string{"notcancelable"}, nil},
		{"a cancel that was answered", canceled, acceptCancel, 405, []string{"notcancelable"}, nil},
		{"an unknown action", offered, strings.Replace(acceptCancel, "100", "7", 1), 404, []string{"entitiyNotFound"}, nil},
		{"no status", canceling, `POST /cancelAction/100/feedback {}`, 400, []string{"notReadable"}, nil},
	},
	"6 configData": {
		{"merge", offered, sendAttributes, 200, nil, []string{"{"}},
		{"no mode", offered, `PUT /configData {"data":{"hw":"B"}}`, 200, nil, nil},
		{"replace", offered, `PUT /configData {"mode":"replace","data":{"hw":"B"}}`, 200, nil, nil},
		{"remove", offered, `PUT /configData {"mode":"remove","data":{"hw":""}}`, 200, nil, nil},
		{"null", offered, `PUT /configData {"data":{"hw":null}}`, 200, nil, nil},
		{"fields of older clients", offered, `PUT /configData {"id":"","time":"20240311T091500","status":{"result":{"finished":"success"},"execution":"closed"},"data":{"hw":"B"}}`, 200, nil, nil},
		{"an unknown mode", offered, `PUT /configData {"mode":"add","data":{}}`, 400, []string{"notReadable"}, nil},
		{"no data", offered, `PUT /configData {}`, 400, []string{"notReadable"}, nil},
		{"a long value", offered, fmt.Sprintf(`PUT /configData {"data":{"hw":%q}}`, strings.Repeat("x", 129)), 400, []string{"invalidTargetAttributes"}, nil},
		{"too many", offered, `PUT /configData {"data":{` + attributes(101) + `}}`, 429, []string{"hawkbit.server.error.quota.tooManyEntries"}, nil},
	},
	"7 installedBase": {
		{"what is installed", finished, "GET /installedBase/100", 200, []string{`{"id":"100","deployment":{"download":"forced"`}, []string{"actionHistory"}},
		{"a history", finished, "GET /installedBase/100?actionHistory=5", 200, []string{`"actionHistory":{"status":"FINISHED","messages":[`}, nil},
		{"an action that has failed", failed, "GET /installedBase/100", 200, []string{`"id":"100"`}, nil},
		{"an action that is open", started, "GET /installedBase/100", 404, []string{"entitiyNotFound"}, nil},
		{"an action that is being canceled", canceling, "GET /installedBase/100", 404, nil, nil},
		{"an action that is canceled", canceled, "GET /installedBase/100", 404, nil, nil},
	},
	"8 installedBase report": {
		{"a set that was not known", offered, `PUT /installedBase {"name":"firmware","version":"1.0"}`, 201, nil, []string{"{"}},
		{"a set that was known", situation{before: []string{getDeployment, reportSuccess}}, `PUT /installedBase {"name":"firmware","version":"1.0"}`, 200, nil, []string{"{"}},
		{"an unknown set", offered, `PUT /installedBase {"name":"firmware","version":"7"}`, 404, []string{"entitiyNotFound"}, nil},
		{"a set that cannot be deployed", offered, `PUT /installedBase {"name":"broken","version":"1"}`, 400, []string{"hawkbit.server.error.distributionset.invalid"}, nil},
		{"no version", offered, `PUT /installedBase {"name":"firmware"}`, 400, []string{"notReadable"}, nil},
	},
	"9 confirmationBase": {
		{"nothing waits", offered, "GET /confirmationBase", 200, []string{`{"autoConfirm":{"active":false},"_links":{"activateAutoConfirm":{"href":"` + linkRoot + `/confirmationBase/activateAutoConfirm"}}}`}, nil},
		{"an action waits", waiting, "GET /confirmationBase", 200, []string{`"confirmationBase":{"href":"` + linkRoot + `/confirmationBase/100?c=1"}`, "activateAutoConfirm"}, nil},
		{"auto-confirm", situation{confirm: true, before: []string{activate}}, "GET /confirmationBase", 200, []string{`"autoConfirm":{"active":true,"initiator":"ada","activatedAt":1`, `"deactivateAutoConfirm":{"href":"` + linkRoot}, []string{`"activateAutoConfirm"`}},
	},
	"10 confirmation": {
		{"the content of a deployment", situation{confirm: true}, getConfirmation + "?c=1", 200, []string{`{"id":"100","confirmation":{"download":"forced","update":"forced","chunks":[{"part":"bApp"`}, []string{`"deployment"`}},
		{"a history", waiting, getConfirmation + "?actionHistory=1", 200, []string{`"actionHistory":{"status":"WAIT_FOR_CONFIRMATION","messages":[]}`}, nil},
		{"an action that is confirmed", confirmed, getConfirmation, 404, []string{"entitiyNotFound"}, nil},
		{"an action that needs none", offered, getConfirmation, 404, []string{"entitiyNotFound"}, nil},
	},
	"11 confirmation feedback": {
		{"confirmed", waiting, confirm, 200, nil, []string{"{"}},
		{"denied", waiting, deny, 200, nil, []string{"{"}},
		{"confirmed twice", confirmed, confirm, 404, []string{"entitiyNotFound"}, nil},
		{"an action that needs none", started, confirm, 404, []string{"entitiyNotFound"}, nil},
		{"an action that is closed", finished, confirm, 410, []string{"closed"}, nil},
		{"another answer", waiting, `POST /confirmationBase/100/feedback {"confirmation":"later"}`, 400, []string{"notReadable"}, nil},
	},
	"12 activateAutoConfirm": {
		{"with texts", offered, activate, 200, nil, []string{"{"}},
		{"without a body", offered, "POST /confirmationBase/activateAutoConfirm", 200, nil, []string{"{"}},
		{"twice", situation{before: []string{activate}}, activate, 409, []string{"hawkbit.server.error.repo.autoConfAlreadyActive"}, nil},
	},
	"13 deactivateAutoConfirm": {
		{"active", situation{before: []string{activate}}, "POST /confirmationBase/deactivateAutoConfirm", 200, nil, []string{"{"}},
		{"not active", offered, "POST /confirmationBase/deactivateAutoConfirm", 200, nil, []string{"{"}},
	},
	"14 artifacts": {
		{"of an open action", started, "GET /softwaremodules/os-1/artifacts", 200, []string{`[{"filename":"bundle.raucb","size":734003200,"hashes":{"sha1":"a1"`}, nil},
		{"of what is installed", finished, "GET /softwaremodules/os-1/artifacts", 200, []string{`[{"filename":"bundle.raucb"`}, nil},
		{"of an action that has not started", offered, "GET /softwaremodules/os-1/artifacts", 404, []string{"entitiyNotFound"}, nil},
		{"of an action that is being canceled", canceling, "GET /softwaremodules/os-1/artifacts", 404, nil, nil},
		{"of an unknown module", started, "GET /softwaremodules/os-2/artifacts", 404, []string{"entitiyNotFound"}, nil},
	},
	"15 artifact": {
		{"of an action that has not started", offered, "GET /softwaremodules/os-1/artifacts/bundle.raucb", 404, []string{"entitiyNotFound"}, nil},
		{"an unknown file", started, "GET /softwaremodules/os-1/artifacts/other.raucb", 404, []string{"entitiyNotFound"}, nil},
	},
	"16 MD5SUM": {
		{"md5, two spaces, name", started, "GET /softwaremodules/os-1/artifacts/bundle.raucb.MD5SUM", 200, []string{"b2  bundle.raucb"}, nil},
		{"an unknown file", started, "GET /softwaremodules/os-1/artifacts/other.raucb.MD5SUM", 404, []string{"entitiyNotFound"}, nil},
	},
}

// attributes returns n attributes of a JSON object.
func attributes(n int) string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf(`"k%d":"v"`, i)
	}
	return strings.Join(all, ",")
}

func TestFactsOfDDI(t *testing.T) {
	if len(facts) != 16 {
		t.Errorf("there are facts about %d resources, want 16", len(facts))
	}
	for resource, list := range facts {
		for _, f := range list {
			t.Run(resource+"/"+f.name, func(t *testing.T) {
				s, _ := inSituation(t, f.in)
				w := send(s, f.request)
				if w.Code != f.status {
					t.Fatalf("%s: %d %s, want %d", f.request, w.Code, w.Body, f.status)
				}
				for _, text := range f.has {
					if !strings.Contains(w.Body.String(), text) {
						t.Errorf("%s\n%s\ndoes not contain\n%s", f.request, w.Body, text)
					}
				}
				for _, text := range f.hasNot {
					if strings.Contains(w.Body.String(), text) {
						t.Errorf("%s\n%s\ncontains\n%s", f.request, w.Body, text)
					}
				}
			})
		}
	}
}

// TestFactsOfAllResources checks what holds for each resource: credentials, media types, ETag and
// HEAD.
func TestFactsOfAllResources(t *testing.T) {
	for resource, list := range facts {
		for _, f := range list {
			t.Run(resource+"/"+f.name, func(t *testing.T) {
				for _, credentials := range []string{"", "Bearer " + token, "TargetToken", "TargetToken wrong", "TargetToken " + token + "x"} {
					s, b := inSituation(t, f.in)
					calls := len(b.Calls())
					if w := send(s, f.request, "Authorization: "+credentials); w.Code != http.StatusUnauthorized || w.Header().Get("WWW-Authenticate") == "" || len(b.Calls()) != calls {
						t.Errorf("with %q: %d, and %d calls of the backend", credentials, w.Code, len(b.Calls())-calls)
					}
				}
				if method, _, _ := strings.Cut(f.request, " "); method != http.MethodGet {
					bodyFacts(t, f)
				} else {
					documentFacts(t, f)
				}
			})
		}
	}
}

// bodyFacts: bodies are JSON or CBOR.
func bodyFacts(t *testing.T, f fact) {
	t.Helper()
	if !strings.Contains(f.request, "{") {
		return
	}
	for _, mediaType := range []string{"application/hal+json", "text/plain", "application/x-www-form-urlencoded", "application/xml", "x"} {
		s, b := inSituation(t, f.in)
		calls := len(b.Calls())
		if !strings.Contains(f.request, "deactivate") {
			if w := send(s, f.request, "Content-Type: "+mediaType); w.Code != http.StatusUnsupportedMediaType || len(b.Calls()) != calls {
				t.Errorf("a body of %s: %d, and %d calls of the backend, want 415", mediaType, w.Code, len(b.Calls())-calls)
			}
		}
	}
	for _, mediaType := range []string{"application/json;charset=UTF-8", "APPLICATION/JSON", "application/json;", `application/json; charset="utf-8"; charset=UTF-8`} {
		s, _ := inSituation(t, f.in)
		if w := send(s, f.request, "Content-Type: "+mediaType); w.Code != f.status {
			t.Errorf("a body of %s: %d, want %d", mediaType, w.Code, f.status)
		}
	}
}

// documentFacts: HEAD is answered as GET and starts nothing; documents have an ETag, with which the
// next response is 304; other media types are refused before anything starts.
func documentFacts(t *testing.T, f fact) {
	t.Helper()
	s, b := inSituation(t, f.in)
	head := send(s, strings.Replace(f.request, "GET", "HEAD", 1))
	for _, call := range b.Calls()[len(f.in.before)-cancels(f.in):] {
		if call.Method == "Deployment" || call.Method == "Confirmation" {
			t.Errorf("HEAD calls %s", call.Method)
		}
	}
	get := send(s, f.request)
	if head.Code != get.Code || cmp.Diff(get.Header(), head.Header()) != "" {
		t.Errorf("HEAD: %d, GET: %d\n%s", head.Code, get.Code, cmp.Diff(get.Header(), head.Header()))
	}
	etag := get.Header().Get("ETag")
	if get.Code != http.StatusOK || strings.HasPrefix(get.Header().Get("Content-Type"), "text/plain") {
		return
	}
	if etag == "" || get.Header().Get("Content-Type") != "application/hal+json" {
		t.Errorf("the headers are %v", get.Header())
	}
	if w := send(s, f.request, "If-None-Match: "+etag); w.Code != http.StatusNotModified || w.Body.Len() > 0 || w.Header().Get("ETag") != etag {
		t.Errorf("with If-None-Match: %d %v %s, want 304", w.Code, w.Header(), w.Body)
	}
	if w := send(s, f.request, `If-None-Match: "other"`); w.Code != http.StatusOK {
		t.Errorf("with another ETag: %d, want 200", w.Code)
	}
	fresh, b := inSituation(t, f.in)
	calls := len(b.Calls())
	if w := send(fresh, f.request, "Accept: text/html"); w.Code != http.StatusNotAcceptable || len(b.Calls()) != calls {
		t.Errorf("a device that accepts text/html gets %d, and the backend %d calls, want 406", w.Code, len(b.Calls())-calls)
	}
}

// cancels counts the steps that are no request.
func cancels(s situation) (n int) {
	for _, step := range s.before {
		if step == userCancels {
			n++
		}
	}
	return n
}

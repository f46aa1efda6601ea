// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package ddi_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/ddi/wire"
	"github.com/goshawk-dev/goshawk/internal/deviceapi"
	"github.com/goshawk-dev/goshawk/internal/deviceapi/deviceapitest"
)

// TestUpdates sends the requests of whole updates to a backend with state. Each row has the
// requests, the status codes of the responses, and a text that the body contains.
func TestUpdates(t *testing.T) {
	const user = "the user cancels"
	type step struct {
		request string // method, path, and perhaps a body
		code    int
		body    string
	}
	const (
		progress  = ` {"status":{"execution":"proceeding","result":{"finished":"none"},"details":["writes"]}}`
		succeeded = ` {"status":{"execution":"closed","result":{"finished":"success"}}}`
		failed    = ` {"status":{"execution":"closed","result":{"finished":"failure"}}}`
		refuses   = ` {"status":{"execution":"rejected","result":{"finished":"success"}}}`
		canceled  = ` {"status":{"execution":"canceled","result":{"finished":"success"}}}`
		confirmed = ` {"confirmation":"confirmed"}`
		denied    = ` {"confirmation":"denied"}`
	)
	tests := map[string]struct {
		confirm, downloadOnly, removes, canRemove bool
		steps                                     []step
	}{
		"an update that succeeds": {steps: []step{
			{"GET ", 200, `"deploymentBase":{"href":"http://devices.example/acme/controller/v1/dev1/deploymentBase/100?c=1"}`},
			{"GET /installedBase/100", 404, ""},
			{"GET /cancelAction/100", 404, ""},
			{"GET /deploymentBase/101", 404, ""},
			{"GET /deploymentBase/100", 200, `"update":"forced"`},
			{"POST /deploymentBase/100/feedback" + progress, 200, ""},
			{"GET /deploymentBase/100?actionHistory=1", 200, `"actionHistory":{"status":"RUNNING","messages":["writes"]}`},
			{"POST /cancelAction/100/feedback" + canceled, 405, "cancel"},
			{"POST /deploymentBase/100/feedback" + succeeded, 200, ""},
			{"POST /deploymentBase/100/feedback" + succeeded, 410, "closed"},
			{"GET ", 200, `"installedBase":{"href":"http://devices.example/acme/controller/v1/dev1/installedBase/100"},"configData"`},
			{"GET /installedBase/100", 200, `"id":"100"`},
			{"PUT /configData" + ` {"data":{"hw":"B"}}`, 200, ""},
			{"GET ", 200, `{"config":{"polling":{"sleep":"00:05:00"}},"_links":{"installedBase":{"href":"http://devices.example/acme/controller/v1/dev1/installedBase/100"}}}`},
		}},
		"an update that fails": {steps: []step{
			{"GET /deploymentBase/100", 200, ""},
			{"POST /deploymentBase/100/feedback" + failed, 200, ""},
			{"GET ", 200, `"_links":{"configData"`},
		}},
		"a cancel that the device rejects": {steps: []step{
			{"GET /deploymentBase/100", 200, ""},
			{user, 0, ""},
			{"GET ", 200, `"cancelAction":{"href":"http://devices.example/acme/controller/v1/dev1/cancelAction/100"}`},
			{"GET /deploymentBase/100", 404, ""},
			{"GET /cancelAction/100", 200, `{"id":"100","cancelAction":{"stopId":"100"}}`},
			{"POST /cancelAction/100/feedback" + refuses, 200, ""},
			{"GET /cancelAction/100", 404, ""},
			{"GET ", 200, `"deploymentBase"`},
			{"POST /deploymentBase/100/feedback" + succeeded, 200, ""},
		}},
		"a cancel that the device accepts": {steps: []step{
			{"GET /deploymentBase/100", 200, ""},
			{user, 0, ""},
			{"POST /cancelAction/100/feedback" + canceled, 200, ""}, // as in hawkBit, only closed ends it
			{"GET /cancelAction/100", 200, ""},
			{"POST /cancelAction/100/feedback" + succeeded, 200, ""},
			{"GET /cancelAction/100", 200, `"stopId":"100"`},
			{"GET /installedBase/100", 404, ""},
			{"POST /deploymentBase/100/feedback" + succeeded, 410, ""},
		}},
		"an update that is confirmed after a denial": {confirm: true, steps: []step{
			{"GET ", 200, `"confirmationBase":{"href":"http://devices.example/acme/controller/v1/dev1/confirmationBase/100?c=1"}`},
			{"GET /confirmationBase", 200, `"confirmationBase":{"href":"http://devices.example/acme/controller/v1/dev1/confirmationBase/100?c=1"}`},
			{"GET /confirmationBase/100", 200, `"confirmation":{"download":"forced"`},
			{"GET /deploymentBase/100", 404, ""},
			{"POST /deploymentBase/100/feedback" + succeeded, 404, ""},
			{"POST /confirmationBase/100/feedback" + denied, 200, ""},
			{"POST /confirmationBase/100/feedback" + confirmed, 200, ""},
			{"POST /confirmationBase/100/feedback" + confirmed, 404, ""},
			{"GET /deploymentBase/100", 200, ""},
			{"POST /deploymentBase/100/feedback" + succeeded, 200, ""},
			{"POST /confirmationBase/100/feedback" + confirmed, 410, ""},
		}},
		"auto-confirm": {confirm: true, steps: []step{
			{"POST /confirmationBase/activateAutoConfirm" + ` {"initiator":"ada"}`, 200, ""},
			{"POST /confirmationBase/activateAutoConfirm" + ` {"initiator":"ada"}`, 409, "autoConfAlreadyActive"},
			{"GET /confirmationBase", 200, `{"autoConfirm":{"active":true,"initiator":"ada","activatedAt":1793599260000},"_links":{"deactivateAutoConfirm"`},
			{"GET ", 200, `"deploymentBase"`},
			{"POST /confirmationBase/deactivateAutoConfirm" + ` {}`, 200, ""},
			{"GET ", 200, `"confirmationBase"`},
		}},
		"a download-only update": {downloadOnly: true, steps: []step{
			{"GET /deploymentBase/100", 200, `"download":"forced","update":"skip"`},
			{"POST /deploymentBase/100/feedback" + ` {"status":{"execution":"downloaded","result":{"finished":"success"}}}`, 200, ""},
			{"GET ", 200, `"_links":{"configData"`}, // nothing is installed
			{"POST /deploymentBase/100/feedback" + succeeded, 200, ""},
			{"GET ", 200, `"_links":{"installedBase"`},
		}},
		"a removal, which DDI has no command for": {removes: true, steps: []step{
			{"HEAD ", 200, ""},
			{"GET /deploymentBase/101", 404, ""}, // HEAD has closed nothing
			{"GET ", 200, `"_links":{"configData"`},
			{"GET ", 200, `"_links":{"configData"`},
			{"GET /deploymentBase/100", 404, ""},
			{"POST /deploymentBase/100/feedback" + succeeded, 410, "closed"},
			{"GET /installedBase/100", 404, ""},
		}},
		"a removal that a device fetches by itself": {removes: true, steps: []step{
			{"HEAD /deploymentBase/100", 404, ""},
			{"GET /deploymentBase/100", 404, ""},
			{"GET /deploymentBase/100", 404, ""},
			{"GET ", 200, `"_links":{"configData"`},
			{"POST /deploymentBase/100/feedback" + succeeded, 410, "closed"},
		}},
		"a removal that needs a confirmation": {removes: true, confirm: true, steps: []step{
			{"GET ", 200, `"_links":{"configData"`},
			{"GET /confirmationBase/100", 404, ""},
			{"POST /confirmationBase/100/feedback" + confirmed, 410, ""},
		}},
		"a removal whose confirmation a device fetches by itself": {removes: true, confirm: true, steps: []step{
			{"HEAD /confirmationBase/100", 404, ""},
			{"GET /confirmationBase/100", 404, ""},
			{"GET ", 200, `"_links":{"configData"`},
			{"POST /confirmationBase/100/feedback" + confirmed, 410, ""},
		}},
		"a removal for a device that has announced nothing": {removes: true, steps: []step{
			{"GET ", 200, `"_links":{"configData"`}, // it may announce it now
			{"PUT /configData" + ` {"data":{"hw":"B"}}`, 200, ""},
			{"GET ", 200, `{"config":{"polling":{"sleep":"00:05:00"}}}`},
			{"GET /deploymentBase/100", 404, ""},
		}},
		"a removal for a device that can do it": {removes: true, canRemove: true, steps: []step{
			{"GET ", 200, `"_links":{"configData"`},
			{"PUT /configData" + ` {"data":{"goshawk-agent.removes":"true"}}`, 200, ""},
			{"HEAD /deploymentBase/100", 200, ""},
			{"GET ", 200, `"_links":{"deploymentBase"`},
			{"GET /deploymentBase/100", 200, `"chunks":[{"part":"acme","version":"1","name":"app","artifacts":[],"metadata":[{"key":"goshawk-agent.remove","value":"true"},{"key":"goshawk-agent.group","value":"acme"}]}]`},
			{"POST /deploymentBase/100/feedback" + succeeded, 200, ""},
			{"GET /installedBase/100", 200, `"goshawk-agent.remove"`},
		}},
		"a removal for a device that can do it, with a confirmation": {removes: true, canRemove: true, confirm: true, steps: []step{
			{"PUT /configData" + ` {"data":{"goshawk-agent.removes":true}}`, 200, ""},
			{"GET ", 200, `"confirmationBase"`},
			{"GET /confirmationBase/100", 200, `"goshawk-agent.remove"`},
			{"POST /confirmationBase/100/feedback" + confirmed, 200, ""},
			{"GET /deploymentBase/100", 200, `"goshawk-agent.remove"`},
			{"POST /deploymentBase/100/feedback" + succeeded, 200, ""},
		}},
		"an installed set that the device reports": {steps: []step{
			{"PUT /installedBase" + ` {"name":"firmware","version":"7"}`, 404, ""},
			{"PUT /installedBase" + ` {"name":"firmware","version":"1.0"}`, 201, ""},
			{"PUT /installedBase" + ` {"name":"firmware","version":"1.0"}`, 200, ""},
			{"GET ", 200, `"_links":{"configData"`},
		}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			b := &deviceapitest.Backend{
				Tokens: map[deviceapi.Device]string{device: token},
				Update: &deviceapitest.Update{Set: deviceapitest.Set{Name: "firmware", Version: "1.0"}, Confirm: tc.confirm, DownloadOnly: tc.downloadOnly},
			}
			if tc.removes {
				b.Update.Remove = []deviceapi.Software{{Group: "acme", Name: "app", Version: "1"}}
			}
			s := deviceAPI(t, b)
			for _, step := range tc.steps {
				if step.request == user {
					b.CancelUpdate(device)
					continue
				}
				method, rest, _ := strings.Cut(step.request, " ")
				path, body, _ := strings.Cut(rest, " ")
				var content []string
				if method != http.MethodGet {
					content = []string{body}
				}
				w := answered(s, ask(method+" "+root+path, content...))
				if w.Code != step.code || !strings.Contains(w.Body.String(), step.body) {
					t.Fatalf("%s %s: %d %s\nwant %d %s", method, path, w.Code, w.Body, step.code, step.body)
				}
			}
			if a := b.StoredAction(device, 100); tc.removes && !tc.canRemove && (a == nil || a.State != v1alpha1.ActionError || a.StatusCode != v1alpha1.CodeRemoveNotSupported || len(a.FailureMessage) > 250) {
				t.Errorf("the action is %+v, want a failed one with code RemoveNotSupported and its whole message", a)
			}
		})
	}
}

// TestLinksOfAnUpdate follows the links of each document instead of building paths.
func TestLinksOfAnUpdate(t *testing.T) {
	b := &deviceapitest.Backend{
		Tokens: map[deviceapi.Device]string{device: token},
		Update: &deviceapitest.Update{Set: deviceapitest.Set{Name: "firmware", Version: "1.0"}},
	}
	s := deviceAPI(t, b)
	read := func(path string, document any) {
		t.Helper()
		w := answered(s, ask("GET "+path))
		if err := json.Unmarshal(w.Body.Bytes(), document); w.Code != http.StatusOK || err != nil {
			t.Fatalf("%s: %d %s, %v", path, w.Code, w.Body, err)
		}
	}
	for range 2 {
		var base wire.Base
		read(root, &base)
		link := base.Links.DeploymentBase
		if link == (wire.Link{}) {
			link = base.Links.InstalledBase
		}
		var deployment wire.DeploymentBase
		read(strings.TrimPrefix(link.Href, "http://devices.example"), &deployment)
		if deployment.ID != "100" {
			t.Fatalf("%s has the id %q", link.Href, deployment.ID)
		}
		answered(s, ask(fmt.Sprintf("POST %s/deploymentBase/%s/feedback", root, deployment.ID), `{"status":`+success+`}`))
	}
}

// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package devicesim

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/goshawk-dev/goshawk/internal/ddi/wire"
)

const deviceAPIURL = "http://devices.test"

// deviceAPI is a scripted DDI server: it offers each device at most one action and keeps a log of
// all requests that are not polls.
type deviceAPI struct {
	mu       sync.Mutex
	url      string // for links
	start    time.Time
	sleep    time.Duration
	offers   map[string]*offer
	wants    map[string]bool // attributes
	statuses map[string]int  // status instead of 200, by "METHOD resource"
	polls    map[string]int
	tokens   map[string]bool // Authorization headers seen
	log      []string
}

// offer is one action and its state at the device API.
type offer struct {
	id       string
	state    offerState
	download wire.Handling
	update   wire.Handling
	window   wire.MaintenanceWindow
	chunks   []wire.Chunk
}

type offerState int

const (
	deploying offerState = iota
	confirming
	canceling
	closed
	stuck // the deployment is always offered, as by a device API that lost the result
)

func newDeviceAPI() *deviceAPI {
	return &deviceAPI{
		url: deviceAPIURL, start: time.Now(), sleep: time.Minute, offers: map[string]*offer{}, wants: map[string]bool{},
		statuses: map[string]int{}, polls: map[string]int{}, tokens: map[string]bool{},
	}
}

// offer makes the device API offer a forced update to the device.
func (d *deviceAPI) offer(device, id string) *offer {
	o := &offer{
		id: id, download: wire.HandlingForced, update: wire.HandlingForced,
		chunks: []wire.Chunk{{Part: "os", Name: "linux", Version: "6.6"}},
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.offers[device] = o
	return o
}

// change calls f between two requests.
func (d *deviceAPI) change(f func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f()
}

func (d *deviceAPI) lines() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.log)
}

func (d *deviceAPI) logf(device, format string, args ...any) {
	since := time.Since(d.start).Round(time.Millisecond)
	d.log = append(d.log, fmt.Sprintf("%s %s ", since, device)+fmt.Sprintf(format, args...))
}

// RoundTrip serves a request without a network, so that it can be used in a synctest bubble.
func (d *deviceAPI) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	if r.Body == nil {
		r.Body = http.NoBody
	}
	answer := httptest.NewRecorder()
	d.ServeHTTP(answer, r)
	return answer.Result(), nil
}

func (d *deviceAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	defer d.mu.Unlock()
	body, _ := io.ReadAll(r.Body)
	d.tokens[r.Header.Get("Authorization")] = true
	parts := strings.SplitN(strings.TrimPrefix(r.URL.Path, "/"), "/", 5)
	device, resource := parts[3], ""
	if len(parts) == 5 {
		resource = parts[4]
	}
	if status := d.statuses[r.Method+" "+resource]; status != 0 {
		d.logf(device, "%s %s answered %d", r.Method, resource, status)
		w.WriteHeader(status)
		return
	}
	status, document := d.serve(device, r.Method+" "+resource, body)
	w.WriteHeader(status)
	if document != nil {
		written, _ := wire.Marshal(document)
		w.Write(written)
	}
}

func (d *deviceAPI) serve(device, request string, body []byte) (int, any) {
	o := d.offers[device]
	switch {
	case request == "GET ":
		d.polls[device]++
		return 200, d.base(device, o)
	case request == "PUT configData":
		config, err := wire.DecodeConfigData(body)
		d.logf(device, "configData %d attributes, error %v", len(config.Data), err)
		d.wants[device] = false
		return 200, nil
	case o == nil || !strings.Contains(request, "/"+o.id):
		return 404, nil
	case strings.HasSuffix(request, "/feedback"):
		return d.feedback(device, o, request, body), nil
	case strings.HasPrefix(request, "GET deploymentBase"):
		d.logf(device, "GET deploymentBase/%s", o.id)
		return 200, wire.DeploymentBase{ID: o.id, Deployment: wire.Deployment{
			Download: o.download, Update: o.update, MaintenanceWindow: o.window, Chunks: o.chunks,
		}}
	case strings.HasPrefix(request, "GET cancelAction"):
		return 200, wire.NewCancelAction(o.id)
	case strings.HasPrefix(request, "GET confirmationBase"):
		return 200, wire.ConfirmationAction{ID: o.id}
	}
	return 404, nil
}

func (d *deviceAPI) base(device string, o *offer) wire.Base {
	base := wire.Base{Config: wire.Config{Polling: wire.Polling{Sleep: wire.Sleep(d.sleep)}}}
	root := d.url + wire.RootPath("default", device)
	if d.wants[device] {
		base.Links.ConfigData.Href = root + "/configData"
	}
	if o == nil {
		return base
	}
	switch o.state {
	case deploying, stuck:
		base.Links.DeploymentBase.Href = root + "/deploymentBase/" + o.id + "?c=7"
	case canceling:
		base.Links.CancelAction.Href = root + "/cancelAction/" + o.id
	case confirming:
		base.Links.ConfirmationBase.Href = root + "/confirmationBase/" + o.id + "?c=7"
	}
	return base
}

func (d *deviceAPI) feedback(device string, o *offer, request string, body []byte) int {
	resource := strings.TrimPrefix(strings.TrimSuffix(request, "/"+o.id+"/feedback"), "POST ")
	if resource == "confirmationBase" {
		answer, err := wire.DecodeConfirmationFeedback(body)
		d.logf(device, "%s %s, error %v", resource, answer.Confirmation, err)
		if answer.Confirmation == wire.Confirmed {
			o.state = deploying
		}
		return 200
	}
	report, err := wire.DecodeFeedback(body)
	if err != nil {
		d.logf(device, "%s refused: %v", resource, err)
		return 400
	}
	status := d.apply(o, resource, report.Status)
	line := fmt.Sprintf("%s %s/%s", resource, report.Status.Execution, report.Status.Result.Finished)
	if p := report.Status.Result.Progress; p != nil {
		line += fmt.Sprintf(" %d of %d", p.Count, p.Of)
	}
	if report.Status.Code != "" {
		line += " code " + string(report.Status.Code)
	}
	if status != 200 {
		line += fmt.Sprintf(" answered %d", status)
	}
	d.logf(device, "%s", line)
	return status
}

func (d *deviceAPI) apply(o *offer, resource string, status wire.Status) int {
	switch {
	case o.state == stuck:
	case resource == "cancelAction" && o.state != canceling:
		return 405
	case resource == "cancelAction" && status.Execution == wire.ExecutionRejected:
		o.state = deploying
	case o.state == closed:
		return 410
	case closes(status):
		o.state = closed
	}
	return 200
}

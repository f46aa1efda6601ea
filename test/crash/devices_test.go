// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package crash

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/goshawk-dev/goshawk/internal/ddi/wire"
	"github.com/goshawk-dev/goshawk/test/world"
)

// devices are simulated devices whose steps the scenario calls one by one. They use only HTTP, and
// repeat a request until a device API responds.
type devices struct {
	t         *testing.T
	namespace string
	// deviceAPI returns the URL of the present device API.
	deviceAPI func() string
	// at has the link of the deployment that each device has started; given has all deployments
	// that devices got, by device and action id.
	at    map[string]string
	given map[string]map[int32]bool
}

func newDevices(t *testing.T, namespace string, deviceAPI func() string) *devices {
	return &devices{t: t, namespace: namespace, deviceAPI: deviceAPI, at: map[string]string{}, given: map[string]map[int32]bool{}}
}

// patience is the maximum time that a device waits for an expected response.
const patience = 60 * time.Second

func (d *devices) until(what string, done func() bool) {
	d.t.Helper()
	for deadline := time.Now().Add(patience); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			d.t.Fatalf("waited %s until %s", patience, what)
		}
	}
}

// take waits until the device is offered a deployment and fetches it.
func (d *devices) take(name string) {
	d.t.Helper()
	d.until(name+" gets a deployment", func() bool { return d.fetch(name) })
}

// start takes a deployment and reports the download and then the installation. The device API may
// buffer these reports in memory, so a crash may lose them.
func (d *devices) start(name string) {
	d.t.Helper()
	d.take(name)
	d.report(name, wire.ExecutionDownload, wire.FinishedNone, "")
	d.report(name, wire.ExecutionProceeding, wire.FinishedNone, "")
}

// fetch fetches the offered deployment and reports whether there is one.
func (d *devices) fetch(name string) bool {
	link := d.poll(name).Links.DeploymentBase.Href
	if link == "" {
		return false
	}
	var deployment wire.DeploymentBase
	if code := d.call(name, http.MethodGet, link, nil, &deployment); code != http.StatusOK {
		return false
	}
	d.wasGiven(name, deployment.ID)
	d.at[name], _, _ = strings.Cut(link, "?")
	return true
}

// wasGiven records an action whose deployment the device got.
func (d *devices) wasGiven(name, action string) {
	d.t.Helper()
	id, err := strconv.ParseInt(action, 10, 32)
	if err != nil {
		d.t.Fatalf("the id of an action of %s: %v", name, err)
	}
	if d.given[name] == nil {
		d.given[name] = map[int32]bool{}
	}
	d.given[name][int32(id)] = true
}

// wereGiven fails the test for every device that did not get exactly n actions.
func (d *devices) wereGiven(n int, names ...string) {
	d.t.Helper()
	for _, name := range names {
		if len(d.given[name]) != n {
			d.t.Errorf("%s got %d actions, want %d", name, len(d.given[name]), n)
		}
	}
}

// isAsked waits until the device is asked to confirm, fetches the confirmation, and returns its
// link.
func (d *devices) isAsked(name string) (link string) {
	d.t.Helper()
	d.until(name+" is asked to confirm", func() bool {
		link, _, _ = strings.Cut(d.poll(name).Links.ConfirmationBase.Href, "?")
		var asked wire.ConfirmationAction
		if link == "" || d.call(name, http.MethodGet, link, nil, &asked) != http.StatusOK {
			return false
		}
		d.wasGiven(name, asked.ID)
		return true
	})
	return link
}

// answer sends the answer to a request for confirmation.
func (d *devices) answer(name string, word wire.Confirmation) {
	d.t.Helper()
	link := d.isAsked(name)
	code := d.call(name, http.MethodPost, link+"/feedback", wire.ConfirmationFeedback{Confirmation: word}, nil)
	// 404: the confirmation was stored, and its response was lost.
	if code != http.StatusOK && (code != http.StatusNotFound || word != wire.Confirmed) {
		d.t.Fatalf("%s sent %s and got status %d", name, word, code)
	}
}

// confirmAll activates auto-confirm of the device.
func (d *devices) confirmAll(name string) {
	d.t.Helper()
	path := fmt.Sprintf("/%s/controller/v1/%s/confirmationBase/activateAutoConfirm", d.namespace, name)
	switch code := d.call(name, http.MethodPost, path, wire.ActivateAutoConfirm{Initiator: "ada"}, nil); code {
	case http.StatusOK, http.StatusConflict: // conflict: the activation was stored, and its response was lost
	default:
		d.t.Fatalf("%s activated auto-confirm and got status %d", name, code)
	}
}

// succeed and fail report the result of the started action.
func (d *devices) succeed(name string) {
	d.t.Helper()
	d.report(name, wire.ExecutionClosed, wire.FinishedSuccess, "")
}

func (d *devices) fail(name, code string) {
	d.t.Helper()
	d.report(name, wire.ExecutionClosed, wire.FinishedFailure, code)
}

// install starts the action and reports success.
func (d *devices) install(names ...string) {
	d.t.Helper()
	for _, name := range names {
		d.start(name)
		d.succeed(name)
	}
}

func (d *devices) report(name string, execution wire.Execution, finished wire.Finished, code string) {
	d.t.Helper()
	body := wire.Feedback{Status: wire.Status{Execution: execution, Result: wire.Result{Finished: finished}, Code: wire.Text(code)}}
	// 410: the report was stored, and its response was lost.
	if code := d.call(name, http.MethodPost, d.at[name]+"/feedback", body, nil); code != http.StatusOK && code != http.StatusGone {
		d.t.Fatalf("%s reported %s and got status %d", name, execution, code)
	}
}

// cancel waits until the device is asked to cancel and answers.
func (d *devices) cancel(name string, execution wire.Execution) {
	d.t.Helper()
	link := ""
	d.until(name+" is asked to cancel", func() bool {
		link, _, _ = strings.Cut(d.poll(name).Links.CancelAction.Href, "?")
		return link != "" && d.call(name, http.MethodGet, link, nil, nil) == http.StatusOK
	})
	body := wire.Feedback{Status: wire.Status{Execution: execution, Result: wire.Result{Finished: wire.FinishedSuccess}}}
	switch code := d.call(name, http.MethodPost, link+"/feedback", body, nil); code {
	case http.StatusOK, http.StatusGone, http.StatusNotFound, http.StatusMethodNotAllowed: // all but OK: the answer was stored, and its response was lost
	default:
		d.t.Fatalf("%s answered a cancel and got status %d", name, code)
	}
}

// findNothing lets devices poll, and fails the test if a device gets a deployment.
func (d *devices) findNothing(names ...string) {
	d.t.Helper()
	for range 3 {
		for _, name := range names {
			if d.fetch(name) {
				d.t.Errorf("%s got %s", name, d.at[name])
			}
		}
	}
}

func (d *devices) poll(name string) wire.Base {
	d.t.Helper()
	var base wire.Base
	path := fmt.Sprintf("/%s/controller/v1/%s", d.namespace, name)
	d.until(name+" gets a response", func() bool { return d.call(name, http.MethodGet, path, nil, &base) == http.StatusOK })
	return base
}

var deviceClient = &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

// call sends a request to the present device API until a device API responds, and returns the
// status.
func (d *devices) call(name, method, link string, document, into any) int {
	d.t.Helper()
	code := 0
	d.until("a device API responds to "+name, func() bool {
		var err error
		code, err = d.try(method, d.deviceAPI()+path(link), document, into)
		return err == nil && code != http.StatusServiceUnavailable && code != http.StatusInternalServerError
	})
	return code
}

func (d *devices) try(method, url string, document, into any) (int, error) {
	var body io.Reader
	if document != nil {
		encoded, err := wire.Marshal(document)
		if err != nil {
			return 0, err
		}
		body = bytes.NewReader(encoded)
	}
	request, err := http.NewRequestWithContext(d.t.Context(), method, url, body)
	if err != nil {
		return 0, err
	}
	request.Header.Set("Authorization", "TargetToken "+world.Token)
	request.Header.Set("Content-Type", wire.MediaType)
	request.Header.Set("Accept", wire.MediaType)
	response, err := deviceClient.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	if into == nil || response.StatusCode != http.StatusOK {
		return response.StatusCode, nil
	}
	return response.StatusCode, json.NewDecoder(response.Body).Decode(into)
}

// path returns the path of a link, because a device uses the links of the device API that ended
// with the next one.
func path(link string) string {
	if _, rest, ok := strings.Cut(link, "://"); ok {
		return rest[strings.Index(rest, "/"):]
	}
	return link
}

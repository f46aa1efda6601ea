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

// devices are driven one at a time, each step by hand. They speak only the wire, and repeat a
// request until a device API answers it.
type devices struct {
	t         *testing.T
	namespace string
	// device API is where they find one now.
	deviceAPI func() string
	// at are the links of what each device has started; given all that was ever handed out, by
	// device and action id.
	at    map[string]string
	given map[string]map[int32]bool
}

func newDevices(t *testing.T, namespace string, deviceAPI func() string) *devices {
	return &devices{t: t, namespace: namespace, deviceAPI: deviceAPI, at: map[string]string{}, given: map[string]map[int32]bool{}}
}

// patience is how long a device waits for what must come.
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
	d.until(name+" is given a deployment", func() bool { return d.fetch(name) })
}

// start takes a deployment and says that the device downloads and then that it is at work. The
// device API may keep these words in memory, so a crash may lose them.
func (d *devices) start(name string) {
	d.t.Helper()
	d.take(name)
	d.report(name, wire.ExecutionDownload, wire.FinishedNone, "")
	d.report(name, wire.ExecutionProceeding, wire.FinishedNone, "")
}

// fetch takes what is offered, if anything is.
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

// wasGiven notes an action that was handed out.
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

// wereGiven tells of every device that was handed out another number of actions than this.
func (d *devices) wereGiven(n int, names ...string) {
	d.t.Helper()
	for _, name := range names {
		if len(d.given[name]) != n {
			d.t.Errorf("%s was given %d actions, want %d", name, len(d.given[name]), n)
		}
	}
}

// isAsked waits until somebody at the device is asked to confirm, and looks at what it is about.
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

// says answers the question whether the device may start.
func (d *devices) says(name string, word wire.Confirmation) {
	d.t.Helper()
	link := d.isAsked(name)
	code := d.call(name, http.MethodPost, link+"/feedback", wire.ConfirmationFeedback{Confirmation: word}, nil)
	// 404: the yes was stored, and its answer lost.
	if code != http.StatusOK && (code != http.StatusNotFound || word != wire.Confirmed) {
		d.t.Fatalf("%s said %s and was answered %d", name, word, code)
	}
}

// agreeToAll makes the device confirm by itself from now on.
func (d *devices) agreeToAll(name string) {
	d.t.Helper()
	path := fmt.Sprintf("/%s/controller/v1/%s/confirmationBase/activateAutoConfirm", d.namespace, name)
	switch code := d.call(name, http.MethodPost, path, wire.ActivateAutoConfirm{Initiator: "ada"}, nil); code {
	case http.StatusOK, http.StatusConflict: // the latter: it was stored, and its answer lost
	default:
		d.t.Fatalf("%s agreed to everything and was answered %d", name, code)
	}
}

// succeed and fail end what the device has started.
func (d *devices) succeed(name string) {
	d.t.Helper()
	d.report(name, wire.ExecutionClosed, wire.FinishedSuccess, "")
}

func (d *devices) fail(name, code string) {
	d.t.Helper()
	d.report(name, wire.ExecutionClosed, wire.FinishedFailure, code)
}

// install starts and succeeds.
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
	// 410: the report was stored, and its answer lost.
	if code := d.call(name, http.MethodPost, d.at[name]+"/feedback", body, nil); code != http.StatusOK && code != http.StatusGone {
		d.t.Fatalf("%s reported %s and was answered %d", name, execution, code)
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
	case http.StatusOK, http.StatusGone, http.StatusNotFound, http.StatusMethodNotAllowed: // all but the first: it was stored, and its answer lost
	default:
		d.t.Fatalf("%s answered a cancel and was answered %d", name, code)
	}
}

// findNothing lets devices ask, and take what they are offered. What they must not be given the
// invariants find.
func (d *devices) findNothing(names ...string) {
	d.t.Helper()
	for range 3 {
		for _, name := range names {
			if d.fetch(name) {
				d.t.Errorf("%s was given %s", name, d.at[name])
			}
		}
	}
}

func (d *devices) poll(name string) wire.Base {
	d.t.Helper()
	var base wire.Base
	path := fmt.Sprintf("/%s/controller/v1/%s", d.namespace, name)
	d.until(name+" is answered", func() bool { return d.call(name, http.MethodGet, path, nil, &base) == http.StatusOK })
	return base
}

var deviceClient = &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

// call asks the present device API for a path until a device API answers, whatever it answers.
func (d *devices) call(name, method, link string, document, into any) int {
	d.t.Helper()
	code := 0
	d.until("a device API answers "+name, func() bool {
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

// path of a link: a device that is told of a new device API goes there with what the old one gave
// it.
func path(link string) string {
	if _, rest, ok := strings.Cut(link, "://"); ok {
		return rest[strings.Index(rest, "/"):]
	}
	return link
}

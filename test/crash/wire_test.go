// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package crash

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/test/world"
)

// Kind is the kind of a fault.
type Kind string

const (
	None        Kind = "Undisturbed"
	CrashAfter  Kind = "CrashAfter"
	CrashBefore Kind = "CrashBefore"
	ReplyLost   Kind = "ReplyLost"
	Refused     Kind = "Refused"
)

var kinds = []Kind{CrashAfter, CrashBefore, ReplyLost, Refused}

// Fault happens at one write, which is identified by object, verb and occurrence. In every run this
// is the same write, which is not so for its number.
type Fault struct {
	Kind Kind
	At   string
	// GatewayTimeout makes a lost reply a 504, else the connection breaks.
	GatewayTimeout bool
}

// injected is part of every error that a fault causes, so that it can be found in the log.
const injected = "injected fault"

var errEnded = errors.New(injected + ": this process has ended")

// refusals are returned one after the other. Only the last has Retry-After, because with it the
// client retries and the process does not get the error.
var refusals = []int{http.StatusConflict, http.StatusInternalServerError, http.StatusServiceUnavailable, http.StatusTooManyRequests}

// line is the transport between the processes of one run and the API server. It restricts them to
// one namespace, records their writes, and injects the fault.
type line struct {
	namespace string

	mu       sync.Mutex
	fault    Fault
	armed    bool
	hit      bool
	refused  int
	stored   []string
	bodies   [][]byte
	times    map[string]int
	last     time.Time
	offences []string
}

// arm starts to record and to wait for the fault.
func (w *line) arm(f Fault) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fault, w.armed, w.stored, w.bodies, w.times = f, true, nil, nil, map[string]int{}
}

// writes returns the writes that were stored since arm, in order.
func (w *line) writes() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]string(nil), w.stored...)
}

// since returns the writes from the n-th on, with their content.
func (w *line) since(n int) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []string
	for i := n; i < len(w.stored); i++ {
		out = append(out, fmt.Sprintf("%s: %s", w.stored[i], w.bodies[i]))
	}
	return out
}

func (w *line) wasHit() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.hit
}

// quietFor returns the time since the last write.
func (w *line) quietFor() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Since(w.last)
}

// touch counts as a write, because a change by the test will cause writes.
func (w *line) touch() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.last = time.Now()
}

// process is the transport of one process.
type process struct {
	*line
	next http.RoundTripper
	// end ends the process and closes ended.
	end   func()
	ended <-chan struct{}
}

func (l *process) hasEnded() bool {
	select {
	case <-l.ended:
		return true
	default:
		return false
	}
}

// RoundTrip forwards a request unless the process has ended, before or after the request.
func (l *process) RoundTrip(r *http.Request) (*http.Response, error) {
	if l.hasEnded() {
		return nil, errEnded
	}
	r = l.narrow(r)
	what, body, err := describe(r)
	if err != nil {
		return nil, err
	}
	if what == "" {
		return l.unlessEnded(l.next.RoundTrip(r))
	}
	l.checkOwner(r, body)
	switch l.faultAt(what) {
	case CrashBefore:
		l.end()
		return nil, errEnded
	case CrashAfter:
		defer l.end()
		_, _ = l.store(r, what, body)
		return nil, errEnded
	case ReplyLost:
		if _, err := l.store(r, what, body); err != nil {
			return nil, err
		}
		return l.lost(r)
	case Refused:
		return l.refusal(r)
	}
	return l.unlessEnded(l.store(r, what, body))
}

func (l *process) unlessEnded(response *http.Response, err error) (*http.Response, error) {
	if l.hasEnded() {
		if err == nil {
			_ = response.Body.Close()
		}
		return nil, errEnded
	}
	return response, err
}

// store sends a write and records it if the API server accepts it.
func (l *process) store(r *http.Request, what string, body []byte) (*http.Response, error) {
	response, err := l.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	read, err := io.ReadAll(response.Body)
	if err = errors.Join(err, response.Body.Close()); err != nil {
		return nil, err
	}
	response.Body = io.NopCloser(bytes.NewReader(read))
	if response.StatusCode < 300 {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.last = time.Now()
		if l.armed {
			l.times[what]++
			l.stored, l.bodies = append(l.stored, fmt.Sprintf("%s #%d", what, l.times[what])), append(l.bodies, body)
		}
	}
	return response, nil
}

// faultAt returns the fault for a write. A crash and a lost reply happen once, a refusal as often
// as there are kinds of it.
func (w *line) faultAt(what string) Kind {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.armed || w.fault.At != fmt.Sprintf("%s #%d", what, w.times[what]+1) {
		return None
	}
	if w.fault.Kind == Refused {
		w.hit = true
		if w.refused == len(refusals) {
			return None
		}
		w.refused++
		return Refused
	}
	if w.hit {
		return None
	}
	w.hit = true
	return w.fault.Kind
}

func (w *line) lost(r *http.Request) (*http.Response, error) {
	if w.fault.GatewayTimeout {
		return answer(r, http.StatusGatewayTimeout), nil
	}
	return nil, fmt.Errorf("%s: the reply is lost: %w", injected, io.EOF)
}

func (w *line) refusal(r *http.Request) (*http.Response, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.last = time.Now()
	return answer(r, refusals[w.refused-1]), nil
}

var reasons = map[int]metav1.StatusReason{
	http.StatusConflict: metav1.StatusReasonConflict, http.StatusInternalServerError: metav1.StatusReasonInternalError,
	http.StatusServiceUnavailable: metav1.StatusReasonServiceUnavailable, http.StatusTooManyRequests: metav1.StatusReasonTooManyRequests,
	http.StatusGatewayTimeout: metav1.StatusReasonTimeout,
}

// answer returns the response of an API server for this code.
func answer(r *http.Request, code int) *http.Response {
	body, err := json.Marshal(metav1.Status{
		TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusFailure, Code: int32(code), Reason: reasons[code],
		Message: fmt.Sprintf("%s: %s", injected, http.StatusText(code)),
	})
	if err != nil {
		panic(err) // a Status can always be encoded
	}
	header := http.Header{"Content-Type": {"application/json"}}
	if code == http.StatusTooManyRequests {
		header.Set("Retry-After", "1")
	}
	return &http.Response{
		Status: http.StatusText(code), StatusCode: code, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: header,
		Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body)), Request: r,
	}
}

var everywhere = regexp.MustCompile(`^(/apis/goshawk\.dev/v1alpha1|/api/v1)/([a-z]+)$`)

// narrow changes a request for all namespaces to one for the namespace of the run, because runs are
// parallel, and two processes with the same objects would work against each other.
func (w *line) narrow(r *http.Request) *http.Request {
	if r.Method != http.MethodGet || !everywhere.MatchString(r.URL.Path) {
		return r
	}
	r = r.Clone(r.Context())
	r.URL.Path = everywhere.ReplaceAllString(r.URL.Path, "${1}/namespaces/"+w.namespace+"/${2}")
	return r
}

var named = regexp.MustCompile(`/namespaces/[^/]+/([a-z]+)(?:/([^/]+))?(?:/([a-z]+))?$`)

// describe returns the name of a write, or "" for reads and events.
func describe(r *http.Request) (what string, body []byte, err error) {
	parts := named.FindStringSubmatch(r.URL.Path)
	if r.Method == http.MethodGet || parts == nil || parts[1] == "events" {
		return "", nil, nil
	}
	if r.Body != nil {
		if body, err = io.ReadAll(r.Body); err != nil {
			return "", nil, err
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
	}
	kind, name, sub := parts[1], parts[2], parts[3]
	var sent struct{ Metadata struct{ Name string } }
	if name == "" && json.Unmarshal(body, &sent) == nil {
		name = sent.Metadata.Name
	}
	return strings.TrimSuffix(fmt.Sprintf("%s %s/%s/%s", r.Method, kind, stable(kind, name), sub), "/"), body, nil
}

// stable returns the part of a name that is the same in every run: names of groups end with a hash
// of a uid, those of the invalidation record with one of a namespace.
func stable(kind, name string) string {
	if kind == "deploymentgroups" {
		return name[:strings.LastIndex(name, "-")]
	}
	if kind == "configmaps" {
		return "invalidation-record"
	}
	return name
}

// checkOwner records a write that Goshawk must not send (S6).
func (w *line) checkOwner(r *http.Request, body []byte) {
	write := world.Write{Request: world.RequestOf(r), Body: body}
	write.Namespace = world.SystemNamespace // a run has one namespace for the fleet and for Goshawk
	fault := world.Forbidden(write)
	if fault == "" {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.offences = append(w.offences, fmt.Sprintf("S6: %s: %s", fault, write))
}

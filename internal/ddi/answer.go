// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package ddi

import (
	"cmp"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/go-logr/logr"

	"github.com/goshawk-dev/goshawk/internal/ddi/wire"
	"github.com/goshawk-dev/goshawk/internal/deviceapi"
	"github.com/goshawk-dev/goshawk/internal/text"
)

// answer is a response that has not been written yet.
type answer struct {
	status  int
	headers []header
	body    []byte
	// isSent means that the response has been written already.
	isSent bool
}

// header is a header of a response. Its name is written as net/http writes it.
type header struct{ name, value string }

// done is the empty response. Clients require that its status is exactly 200.
var done = answer{status: http.StatusOK}

// write always sets Content-Length, because small clients cannot read chunked responses.
func (a answer) write(w http.ResponseWriter) {
	if a.isSent {
		return
	}
	if len(a.body) > 0 {
		a.headers = append(a.headers, header{"Content-Length", strconv.Itoa(len(a.body))})
	}
	to, values := w.Header(), make([]string, len(a.headers)) // one allocation for all values
	for i, h := range a.headers {
		values[i] = h.value
		to[h.name] = values[i : i+1 : i+1]
	}
	w.WriteHeader(a.status)
	if len(a.body) > 0 {
		_, _ = w.Write(a.body) // the client may have disconnected
	}
}

// written returns a response with a document in one of the media types of wire.
func (v *visit) written(status int, mediaType string, document any) (a answer, err error) {
	a = answer{status: status, headers: append(v.headers[:0], header{"Content-Type", mediaType})}
	switch document := document.(type) {
	case *wire.Base:
		if mediaType != wire.CBORMediaType {
			v.body = document.AppendJSON(v.body[:0])
			a.body = v.body
			return a, nil
		}
	}
	marshal := wire.Marshal
	if mediaType == wire.CBORMediaType {
		marshal = wire.MarshalCBOR
	}
	a.body, err = marshal(document)
	return a, err
}

// refusal is an error with its response to the device.
type refusal struct {
	status int
	// kind is the error of hawkBit. If hawkBit has none, code is the code without ownCode.
	kind       exception
	code       string
	message    string
	retryAfter time.Duration
}

// ownCode is the start of the codes of refusals for which hawkBit has no code.
const ownCode = "goshawk.ddi."

// exception is the class and code of an error of hawkBit. Some clients compare them.
type exception struct{ class, code string }

const repositoryException = "org.eclipse.hawkbit.repository.exception."

var (
	entityNotFound = exception{repositoryException + "EntityNotFoundException", "hawkbit.server.error.repo.entitiyNotFound"} // hawkBit's spelling
	notReadable    = exception{"org.eclipse.hawkbit.rest.exception.MessageNotReadableException", "hawkbit.server.error.rest.body.notReadable"}
	wrongID        = exception{"jakarta.validation.ConstraintViolationException", "hawkbit.server.error.repo.constraintViolation"}
	wrongAttribute = exception{repositoryException + "InvalidTargetAttributeException", "hawkbit.server.error.repo.invalidTargetAttributes"}
	wrongSet       = exception{repositoryException + "InvalidDistributionSetException", "hawkbit.server.error.distributionset.invalid"}
	notCancelable  = exception{repositoryException + "CancelActionNotAllowedException", "hawkbit.server.error.action.notcancelable"}
	autoConfirmed  = exception{repositoryException + "AutoConfirmationAlreadyActiveException", "hawkbit.server.error.repo.autoConfAlreadyActive"}
	concurrent     = exception{repositoryException + "ConcurrentModificationException", "hawkbit.server.error.repo.concurrentModification"}
	quotaExceeded  = exception{repositoryException + "AssignmentQuotaExceededException", "hawkbit.server.error.quota.tooManyEntries"}
	genericError   = exception{"org.eclipse.hawkbit.exception.GenericSpServerException", "hawkbit.server.error.repo.genericError"}
)

func (r refusal) Error() string { return r.message }

var (
	wrongMethod = refusal{status: http.StatusMethodNotAllowed, code: "methodNotAllowed",
		message: "this resource does not take this method; the Allow header names those it takes"}
	notAcceptable = refusal{status: http.StatusNotAcceptable, code: "notAcceptable",
		message: "the device API writes application/hal+json, application/json and application/cbor; accept one of them"}
	unknownType = refusal{status: http.StatusUnsupportedMediaType, code: "unsupportedMediaType",
		message: "the device API reads JSON and CBOR; send Content-Type: application/json or application/cbor"}
	tooLarge = refusal{status: http.StatusRequestEntityTooLarge, code: "tooLarge",
		message: "the body is larger than 64 KiB; send fewer or shorter details. A result may have 1 MiB"}
	cutResult = refusal{status: http.StatusRequestEntityTooLarge, code: "tooLarge",
		message: "the body is larger than 1 MiB, and what was read of it has no result; send fewer or shorter details, and send them last"}
	encoded = refusal{status: http.StatusUnsupportedMediaType, code: "unsupportedMediaType",
		message: "the device API reads bodies as they are; send no Content-Encoding"}
	tooManyDetails = refusal{status: http.StatusTooManyRequests, kind: quotaExceeded,
		message: "status.details has more than 50 lines; send fewer"}
	tooMany = refusal{status: http.StatusTooManyRequests, code: "tooManyRequests", retryAfter: time.Second,
		message: "8 requests of this device are in progress; wait for their responses"}
	secondLarge = refusal{status: http.StatusTooManyRequests, code: "tooManyRequests", retryAfter: time.Second,
		message: "another report of this device with more than 64 KiB is being read; wait for its response"}
	tooManyRefusals = refusal{status: http.StatusTooManyRequests, code: "tooManyRequests", retryAfter: 10 * time.Second,
		message: "the credentials or the path of this request are wrong, and so were those of many before; correct them, then try again"}
	failed = refusal{status: http.StatusInternalServerError, kind: genericError,
		message: "the device API failed; its log says why"}
	// clientGone is never received, but counted in the metrics, which must not count a disconnected
	// device as a failure of the device API.
	clientGone = refusal{status: 499, code: "clientGone", message: "the device has closed the connection"}
)

// refusals are the responses for the errors of a Backend.
var refusals = []struct {
	err error
	refusal
}{
	{deviceapi.ErrUnauthorized, refusal{status: http.StatusUnauthorized, code: "unauthorized",
		message: "the device is unknown or its credentials are wrong; send Authorization: TargetToken and the token of this device, or credentials that a DeviceAccess accepts"}},
	{deviceapi.ErrNotServed, refusal{status: http.StatusNotFound, code: "tenantNotServed",
		message: "this device API does not serve the tenant in the path; correct the tenant, or add its namespace to --watch-namespaces"}},
	{deviceapi.ErrNotFound, refusal{status: http.StatusNotFound, kind: entityNotFound,
		message: "there is no such resource for this device; its base resource links to what there is"}},
	{deviceapi.ErrNotAllowed, refusal{status: http.StatusMethodNotAllowed, kind: notCancelable,
		message: "no cancel of this action is on offer; poll the base resource"}},
	{deviceapi.ErrConflict, refusal{status: http.StatusConflict, kind: concurrent,
		message: "something else has changed at the same moment; try again"}},
	{deviceapi.ErrGone, refusal{status: http.StatusGone, code: "gone",
		message: "this action is closed; stop reporting on it and poll the base resource"}},
	{deviceapi.ErrTooMany, refusal{status: http.StatusTooManyRequests, kind: quotaExceeded,
		message: "a quota of this device is used up; send less"}},
}

// refusalOf returns the response for an error.
func refusalOf(err error) refusal {
	if known, ok := errors.AsType[refusal](err); ok {
		return known
	}
	if bad, ok := errors.AsType[deviceapi.BadRequest](err); ok {
		r := refusal{status: http.StatusBadRequest, kind: notReadable, message: text.LimitBytes(bad.Reason, maxReason)}
		if named, ok := errors.AsType[rejected](err); ok {
			r.kind = named.kind
		}
		return r
	}
	if tooMany, ok := errors.AsType[deviceapi.TooMany](err); ok {
		r := refusal{status: http.StatusTooManyRequests, kind: quotaExceeded, message: text.LimitBytes(tooMany.Reason, maxReason), retryAfter: tooMany.RetryAfter}
		if r.retryAfter > 0 {
			r.kind, r.code = exception{}, "tooManyRequests"
		}
		return r
	}
	if unavailable, ok := errors.AsType[deviceapi.Unavailable](err); ok {
		return refusal{status: http.StatusServiceUnavailable, code: "unavailable",
			message: "the device API is not ready; try again later", retryAfter: cmp.Or(unavailable.RetryAfter, unavailableRetry)}
	}
	for _, known := range refusals {
		if errors.Is(err, known.err) {
			return known.refusal
		}
	}
	return failed
}

// rejected is a BadRequest for which hawkBit has another exception than notReadable.
type rejected struct {
	deviceapi.BadRequest
	kind exception
}

// Unwrap returns the BadRequest.
func (r rejected) Unwrap() error { return r.BadRequest }

// asKind adds the exception of hawkBit to a BadRequest. It returns other errors unchanged.
func asKind(kind exception, err error) error {
	if bad, ok := errors.AsType[deviceapi.BadRequest](err); ok {
		return rejected{bad, kind}
	}
	return err
}

// unavailableRetry is after which time a device comes back if the backend names none.
const unavailableRetry = 10 * time.Second

// refuse converts an error to a response and logs it: a failure as an error, and everything that a
// device can cause at V(1).
func (v *visit) refuse(resource *resource, err error) answer {
	refusal := refusalOf(err)
	if refusal == failed && v.Context().Err() != nil {
		refusal = clientGone
	}
	if refusal == failed {
		v.about(resource, refusal).Error(err, "The device API failed")
	} else if v.log.V(1).Enabled() && v.limits.notes.AllowN(v.now, 1) {
		v.about(resource, refusal).V(1).Info("Refused a device", "reason", text.LimitBytes(err.Error(), maxReason))
	}
	return refusal.answer(v, resource)
}

// about returns the logger for one refusal. Everything that the device has sent is logged as a
// value.
func (v *visit) about(resource *resource, refusal refusal) logr.Logger {
	return v.log.WithValues("resource", resource.name, "method", v.Method, "status", refusal.status,
		"tenant", text.LimitBytes(v.PathValue("tenant"), maxReason), "controllerID", text.LimitBytes(v.PathValue("controllerId"), maxReason), "address", v.origin.address)
}

// answer returns the response, in CBOR to a device that accepts only that, and otherwise in JSON.
func (r refusal) answer(v *visit, resource *resource) answer {
	kind := r.kind
	if kind == (exception{}) {
		kind.code = ownCode + r.code
	}
	mediaType := wire.MediaType
	if accepted, ok := negotiate(v.Header["Accept"]); ok && accepted == wire.CBORMediaType {
		mediaType = accepted
	}
	a, err := v.written(r.status, mediaType, wire.Error{ExceptionClass: kind.class, ErrorCode: kind.code, Message: r.message})
	if err != nil {
		return answer{status: r.status}
	}
	if r.status == http.StatusMethodNotAllowed {
		a.headers = append(a.headers, header{"Allow", resource.allow()})
	}
	if r.status == http.StatusUnauthorized {
		a.headers = append(a.headers, header{"Www-Authenticate", "TargetToken, GatewayToken"})
	}
	if r.retryAfter > 0 {
		seconds := (r.retryAfter + time.Second - 1) / time.Second
		a.headers = append(a.headers, header{"Retry-After", strconv.Itoa(int(seconds))})
	}
	return a
}

// maxReason limits the length of a reason in bytes, so that it does not contain a whole body.
const maxReason = 400

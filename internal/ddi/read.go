// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package ddi

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"strings"
	"time"

	"github.com/goshawk-dev/goshawk/internal/ddi/wire"
	"github.com/goshawk-dev/goshawk/internal/deviceapi"
)

// read reads a body of at most maxBody.
func read[T any](v *visit, decode func([]byte) (T, error)) (document T, err error) {
	if err := v.checkContent(maxBody); err != nil {
		return document, err
	}
	body, err := v.readBody(maxBody)
	switch {
	case err != nil:
		return document, err
	case len(body) > maxBody:
		return document, tooLarge
	}
	return decoded(v, body, decode)
}

// decoded decodes a document. If it is nested too deeply, the deep parts are ignored.
func decoded[T any](v *visit, body []byte, decode func([]byte) (T, error)) (document T, err error) {
	if v.sentType() == wire.CBORMediaType {
		if body, err = wire.JSONOfCBOR(body); err != nil {
			return document, deviceapi.BadRequest{Reason: err.Error()}
		}
	}
	document, err = decode(body)
	if errors.Is(err, wire.ErrTooDeep) {
		document, err = decode(wire.Salvage(body))
	}
	if err != nil {
		err = deviceapi.BadRequest{Reason: err.Error()}
	}
	return document, err
}

// readResult reads a body of at most maxBody or, for a result, of at most maxResult. Results are
// not refused because of their size: of a larger one the start is used if it contains the result,
// and isWhole is false. Beyond the rate of the device only results are accepted.
func readResult[T any](v *visit, decode func([]byte) (T, error), isResult func(T) bool) (document T, isWhole bool, err error) {
	if err := v.checkContent(maxPast); err != nil {
		return document, false, err
	}
	body, err := v.readBody(maxBody)
	switch {
	case err != nil:
		return document, false, err
	case len(body) <= maxBody:
		document, err = decoded(v, body, decode)
		isWhole = true
	default:
		document, isWhole, err = readLarge(v, body, decode)
		if err == nil && !isResult(document) {
			err = tooLarge
		}
		if errors.Is(err, tooLarge) || errors.Is(err, cutResult) {
			v.noteTooLarge()
		}
	}
	if err == nil && v.beyondRate != nil && (!isResult(document) || !v.limits.AdmitResult(v.device, v.gatewayToken, v.now)) {
		err = v.beyondRate
	}
	return document, isWhole, err
}

// readLarge continues to read a body larger than maxBody. If it cannot be decoded, it is too large.
func readLarge[T any](v *visit, body []byte, decode func([]byte) (T, error)) (document T, isWhole bool, err error) {
	release, err := v.limits.takeLarge(v.device, v.Context().Done())
	if err != nil {
		return document, false, err
	}
	defer release()
	rest, err := v.readBody(maxResult - len(body))
	if err != nil {
		return document, false, err
	}
	body = append(body, rest...)
	if len(body) <= maxResult {
		if document, err = decoded(v, body, decode); err != nil {
			err = tooLarge
		}
		return document, true, err
	}
	if v.sentType() == wire.CBORMediaType { // the start of a CBOR document is none
		return document, false, cutResult
	}
	if document, err = decode(wire.Salvage(body[:maxResult])); err != nil {
		return document, false, cutResult
	}
	_, _ = io.CopyN(io.Discard, v.Body, maxPast-maxResult) // a client that is still writing would not read the response
	return document, false, nil
}

// sentType returns the media type of the body, without parameters, or "".
func (v *visit) sentType() string {
	mediaType, _, _ := mime.ParseMediaType(v.Header.Get("Content-Type")) // "" if it cannot be read
	return mediaType
}

// checkContent refuses bodies that are not plain JSON or CBOR, or that are announced to be too
// large.
func (v *visit) checkContent(most int64) error {
	if sent := v.sentType(); sent != wire.MediaType && sent != wire.CBORMediaType {
		return unknownType
	}
	if encoding := v.Header.Get("Content-Encoding"); encoding != "" && !strings.EqualFold(encoding, "identity") {
		return encoded
	}
	if v.ContentLength > most {
		v.noteTooLarge()
		return tooLarge
	}
	return nil
}

// readBody reads until it has more than most bytes, or all. It does not replace the body of the
// request, because net/http must recognize a body that waits for 100-continue. Otherwise it would
// wait for data that the client never sends.
func (v *visit) readBody(most int) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(v.Body, int64(most)+1))
	if err != nil {
		return nil, deviceapi.BadRequest{Reason: fmt.Sprintf("the body could not be read: %v", err)}
	}
	return body, nil
}

// takeLarge waits for room for a large body, because all large bodies together must fit into
// memory. Each device has at most one at a time, so that a single device cannot take all the room
// by sending slowly.
func (l *limits) takeLarge(device deviceapi.Device, gone <-chan struct{}) (release func(), err error) {
	l.entering.Lock()
	isSecond := l.readsLarge[device]
	l.readsLarge[device] = true
	l.entering.Unlock()
	if isSecond {
		return nil, secondLarge
	}
	leave := func() {
		l.entering.Lock()
		defer l.entering.Unlock()
		delete(l.readsLarge, device)
	}
	select {
	case l.large <- struct{}{}:
		return func() { <-l.large; leave() }, nil
	case <-gone:
		err = clientGone
	case <-time.After(largeWait):
		err = deviceapi.ErrGlobalRate
	}
	leave()
	return nil, err
}

// noteTooLarge logs, a few times and then once a minute, that a report was refused because of its
// size. If it was a result, its action stays open.
func (v *visit) noteTooLarge() {
	v.tooLargeNotes.Do(func() {
		v.log.Info("Refused a report because of its size. If it was a result, its action stays open until the device sends a smaller one",
			"tenant", v.PathValue("tenant"), "controllerID", v.PathValue("controllerId"), "action", v.PathValue("actionId"), "contentLength", v.ContentLength)
	})
}

// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package ddi

import (
	"errors"
	"fmt"
	"io"
	"strings"

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

// sentType returns the media type of the body, or "". Its parameters have no effect, also if they
// cannot be read.
func (v *visit) sentType() string { return mediaTypeOf(v.Header.Get("Content-Type")) }

// mediaTypeOf returns a media type without its parameters, in lower case.
func mediaTypeOf(text string) string {
	mediaType, _, _ := strings.Cut(text, ";")
	return strings.ToLower(strings.TrimSpace(mediaType))
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

// noteTooLarge logs, a few times and then once a minute, that a report was refused because of its
// size. If it was a result, its action stays open.
func (v *visit) noteTooLarge() {
	v.tooLargeNotes.Do(func() {
		v.log.Info("Refused a report because of its size. If it was a result, its action stays open until the device sends a smaller one",
			"tenant", v.PathValue("tenant"), "controllerID", v.PathValue("controllerId"), "action", v.PathValue("actionId"), "contentLength", v.ContentLength)
	})
}

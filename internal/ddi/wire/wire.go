// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package wire holds the JSON words of hawkBit's Direct Device Integration
// (DDI) API: what is written is exactly what hawkBit writes, what is read is
// anything a known device client has been seen to send.
//
// The types say nothing about what a report means; that is the business of
// the device API. Reading goes through the Decode functions, whose errors are
// sentences that name the offending field and can be sent back to a device
// with status 400.
package wire

import (
	"bytes"
	"encoding/json"
	"net/url"
)

// MediaType is the content type of every document in this package.
const MediaType = "application/json"

// HALMediaType is the content type hawkBit answers by default; the documents
// are the same.
const HALMediaType = "application/hal+json"

// RootPath is the path of one device, with tenant and controller id escaped.
// Clients such as swupdate build every other path from it and follow no link.
func RootPath(tenant, controllerID string) string {
	return "/" + url.PathEscape(tenant) + "/controller/v1/" + url.PathEscape(controllerID)
}

// Marshal writes a document compactly and leaves &, < and > in links as they
// are: small clients match links as text.
func Marshal(document any) ([]byte, error) {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(document); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), nil
}

// Link is a HAL link. Every Href is absolute.
type Link struct {
	Href string `json:"href"`
}

// List is a JSON array that is written as [] when it is empty: several
// clients take null for a broken document.
type List[T any] []T

// MarshalJSON writes [] for a nil list.
func (l List[T]) MarshalJSON() ([]byte, error) {
	if l == nil {
		return []byte("[]"), nil
	}
	return Marshal([]T(l))
}

// Error is the body of a refusal. It may be left out altogether; a client
// only acts on the status code.
type Error struct {
	ExceptionClass string         `json:"exceptionClass,omitempty"`
	ErrorCode      string         `json:"errorCode,omitempty"`
	Message        string         `json:"message,omitempty"`
	Info           map[string]any `json:"info,omitempty"`
}

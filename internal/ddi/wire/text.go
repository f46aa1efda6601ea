// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Text is a value that some clients send as a number and others as a text. Null, booleans, lists
// and objects are read as "". A text that is an integer is written as a number, as in hawkBit's
// documents.
type Text string

// UnmarshalJSON returns no error for well-formed JSON.
func (t *Text) UnmarshalJSON(data []byte) error {
	*t = ""
	switch first := data[0]; {
	case first == '"':
		var s string
		err := json.Unmarshal(data, &s)
		*t = Text(s)
		return err
	case first == '-' || first >= '0' && first <= '9':
		*t = Text(data)
	}
	return nil
}

// MarshalJSON returns a number for an integer, and a text otherwise.
func (t Text) MarshalJSON() ([]byte, error) {
	if n, err := strconv.ParseInt(string(t), 10, 64); err == nil && strconv.FormatInt(n, 10) == string(t) {
		return []byte(t), nil
	}
	return Marshal(string(t))
}

// integer returns the number without its fraction, or 0 if it is no number or too large to be
// exact.
func (t Text) integer() int {
	const most = 1 << 53
	n, err := strconv.ParseFloat(string(t), 64)
	if err != nil || !(n >= -most && n <= most) { // NaN is neither
		return 0
	}
	return int(n)
}

// appendText appends a JSON string as Marshal encodes it.
func appendText(to []byte, text string) []byte {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			encoded, _ := Marshal(text) // a string can always be encoded
			return append(to, encoded...)
		}
	}
	return append(append(append(to, '"'), text...), '"')
}

// plain returns the text of a JSON value: a string without its quotes, or else the JSON.
func plain(data json.RawMessage) string {
	var s string
	if json.Unmarshal(data, &s) == nil && string(data) != "null" {
		return s
	}
	return string(data)
}

// ErrTooDeep is the error for a document that is nested deeper than encoding/json reads. Salvage
// makes it readable.
var ErrTooDeep = errors.New("the body is nested too deep")

// decode reads one JSON object. Its errors are about the document, and not about Go types as those
// of encoding/json.
func decode(body []byte, into any) error {
	if len(strings.TrimSpace(string(body))) == 0 {
		return errors.New("the body is empty; send a JSON object")
	}
	err := json.Unmarshal(bytes.TrimPrefix(body, []byte("\ufeff")), into)
	var mismatch *json.UnmarshalTypeError
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &mismatch) && mismatch.Field == "":
		return fmt.Errorf("the body must be a JSON object, not %s", article(mismatch.Value))
	case errors.As(err, &mismatch):
		return fmt.Errorf("%s must not be %s", mismatch.Field, article(mismatch.Value))
	case errors.As(err, &syntax) && strings.HasSuffix(syntax.Error(), "exceeded max depth"):
		return ErrTooDeep
	case errors.As(err, &syntax):
		return fmt.Errorf("the body is not JSON: %w at byte %d", err, syntax.Offset)
	}
	return err
}

// article returns the name that encoding/json has for a kind of JSON value, with an article.
func article(kind string) string {
	word, _, _ := strings.Cut(kind, " ")
	switch word {
	case "object":
		return "an object"
	case "array":
		return "a list"
	case "string":
		return "text"
	case "bool":
		return "true or false"
	}
	return "a number"
}

// TextOfTime returns a time in milliseconds since 1970, for timestamp.
func TextOfTime(t time.Time) Text {
	return Text(strconv.FormatInt(t.UnixMilli(), 10))
}

// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package wire

// maxDepth is how deep documents of DDI may be nested. No field of DDI is nested deeper.
const maxDepth = 64

// Salvage makes a JSON document readable that was cut off or is nested too deep. Of a document that
// ends too early it keeps all complete values, and closes the open lists and objects. Values that
// are nested too deep become null. Other faults stay.
func Salvage(body []byte) []byte {
	s := salvage{out: make([]byte, 0, len(body)+maxDepth)}
	for _, c := range body {
		s.take(c)
	}
	if !s.inString && len(s.open) == 0 {
		return s.out
	}
	s.out = s.out[:s.whole]
	for i := s.wholeDepth - 1; i >= 0; i-- {
		s.out = append(s.out, s.open[i])
	}
	return s.out
}

type salvage struct {
	out []byte
	// open are the brackets that close the open lists and objects of out, the outermost first.
	open []byte
	// dropped counts the open brackets of a value that is nested too deep.
	dropped int
	// out[:whole] is a document, once the first wholeDepth brackets of open are closed.
	whole, wholeDepth    int
	inString, isEscaping bool
}

func (s *salvage) take(c byte) {
	switch {
	case s.inString:
		s.inString = s.isEscaping || c != '"'
		s.isEscaping = !s.isEscaping && c == '\\'
		s.keep(c)
	case c == '{':
		s.opens(c, '}')
	case c == '[':
		s.opens(c, ']')
	case c == '}' || c == ']':
		s.closes(c)
	default:
		if c == ',' && s.dropped == 0 {
			s.isWhole()
		}
		s.inString = c == '"'
		s.keep(c)
	}
}

func (s *salvage) keep(c byte) {
	if s.dropped == 0 {
		s.out = append(s.out, c)
	}
}

func (s *salvage) opens(bracket, closing byte) {
	switch {
	case s.dropped > 0:
		s.dropped++
	case len(s.open) == maxDepth:
		s.out = append(s.out, "null"...)
		s.dropped = 1
	default:
		s.out, s.open = append(s.out, bracket), append(s.open, closing)
		s.isWhole()
	}
}

func (s *salvage) closes(bracket byte) {
	switch {
	case s.dropped > 0:
		s.dropped--
	default:
		s.out = append(s.out, bracket)
		if len(s.open) > 0 {
			s.open = s.open[:len(s.open)-1]
			s.isWhole()
		}
	}
}

func (s *salvage) isWhole() { s.whole, s.wholeDepth = len(s.out), len(s.open) }

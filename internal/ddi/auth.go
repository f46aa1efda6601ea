package ddi

import (
	"errors"
	"net/http"
	"net/netip"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// maxID is hawkBit's limit for a controller id.
const maxID = 256

// deviceOf reads the device from the path. Tenants are compared without regard to case, as in hawkBit.
func deviceOf(r *http.Request) (Device, error) {
	device := Device{Tenant: strings.ToLower(r.PathValue("tenant")), ControllerID: r.PathValue("controllerId")}
	if err := checkID("the tenant", device.Tenant); err != nil {
		return device, err
	}
	return device, checkID("the controllerId", device.ControllerID)
}

func checkID(name, id string) error {
	switch {
	case id == "." || id == "..":
		return BadRequest{name + " in the path is a dot or two, which clients and proxies take for a step in the path"}
	case !utf8.ValidString(id):
		return BadRequest{name + " in the path is not UTF-8"}
	case utf8.RuneCountInString(id) > maxID:
		return BadRequest{name + " in the path has more than 256 characters"}
	case strings.ContainsFunc(id, unprintable):
		return BadRequest{name + " in the path holds a blank or a control character; it may hold neither"}
	}
	return nil
}

func unprintable(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }

// identify returns the device that a request comes from. Only refusals count against an address: many
// devices may share one behind a router, and their polls are not suspicious.
func (s *Server) identify(r *http.Request, namesDevice bool, now time.Time) (Device, error) {
	address := s.address(r)
	if s.limits.barred(address, now) {
		return Device{}, tooManyRefusals
	}
	device, err := s.authorize(r, namesDevice)
	if err != nil && !isOurs(err) {
		s.limits.suspect(address, now)
	}
	return device, err
}

// isOurs reports whether an error says nothing about the request.
func isOurs(err error) bool {
	_, isBad := errors.AsType[BadRequest](err)
	return !isBad && !errors.Is(err, ErrUnauthorized) && !errors.Is(err, ErrNotFound)
}

// authorize asks the backend. A path that names no device has no credentials that could be right, but
// a request without any is refused like everywhere else.
func (s *Server) authorize(r *http.Request, namesDevice bool) (Device, error) {
	token := targetToken(r.Header.Get("Authorization"))
	if !namesDevice {
		if token == "" {
			return Device{}, ErrUnauthorized
		}
		return Device{}, ErrNotFound
	}
	device, err := deviceOf(r)
	switch {
	case err != nil:
		return device, err
	case token == "":
		return device, ErrUnauthorized
	}
	return device, s.backend.Authorize(r.Context(), device, token)
}

// targetToken is the token of an Authorization header, or empty.
func targetToken(authorization string) string {
	scheme, token, _ := strings.Cut(authorization, " ")
	if !strings.EqualFold(scheme, "TargetToken") {
		return ""
	}
	return strings.TrimSpace(token)
}

// address is the device's, or its router's; not valid if it is not known.
func (s *Server) address(r *http.Request) netip.Addr {
	if s.trustForwarded {
		if address, err := netip.ParseAddr(lastOf(r.Header.Values("X-Forwarded-For"))); err == nil {
			return address.Unmap()
		}
	}
	peer, _ := netip.ParseAddrPort(r.RemoteAddr)
	return peer.Addr().Unmap()
}

// lastOf is the entry that the nearest proxy has added; earlier ones may come
// from the device.
func lastOf(lines []string) string {
	if len(lines) == 0 {
		return ""
	}
	line := lines[len(lines)-1]
	return strings.TrimSpace(line[strings.LastIndexByte(line, ',')+1:])
}

// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package ddi

import (
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/goshawk-dev/goshawk/internal/deviceapi"
	"github.com/goshawk-dev/goshawk/internal/room"
)

// limits are the limits of every protocol, and those of HTTP: of bodies and of parallel requests.
type limits struct {
	*deviceapi.Limits
	// bodies limits the large reports of a device beyond its rate that are read, in pieces of 4
	// KiB: only after reading is it known whether a report is a result.
	bodies *deviceapi.Buckets[deviceapi.Device]
	// notes limits the log lines about refusals.
	notes *rate.Limiter

	// large has room for maxLarge bodies.
	large *room.Room

	// underWay counts the present requests of each device, and readsLarge contains the devices of
	// which a large body is being read.
	entering   sync.Mutex
	underWay   map[deviceapi.Device]int
	readsLarge map[deviceapi.Device]bool
}

// maxUnderWay is the maximum number of parallel requests of one device, so that a device that sends
// its bodies slowly does not use more connections.
const maxUnderWay = 8

const (
	// bodyPiece is the part of a body that is not counted separately.
	bodyPiece = 4 << 10
	// piecesPerRequest is the number of pieces of bodies that are read for each request within the
	// rate, if a device exceeds its rate.
	piecesPerRequest = 10
)

func newLimits(rates deviceapi.Rates) *limits {
	l := &limits{
		Limits:     deviceapi.NewLimits(rates),
		notes:      rate.NewLimiter(100, 1000),
		large:      room.New(maxLarge),
		underWay:   map[deviceapi.Device]int{},
		readsLarge: map[deviceapi.Device]bool{},
	}
	device := l.Rates.Device
	l.bodies = deviceapi.NewBuckets[deviceapi.Device](deviceapi.Rate{
		PerSecond: device.PerSecond * piecesPerRequest, Burst: device.Burst * piecesPerRequest})
	return l
}

// enter reports whether another request of an authorized device is accepted. leave ends the
// request.
func (l *limits) enter(device deviceapi.Device) bool {
	l.entering.Lock()
	defer l.entering.Unlock()
	if l.underWay[device] >= maxUnderWay {
		return false
	}
	l.underWay[device]++
	return true
}

func (l *limits) leave(device deviceapi.Device) {
	l.entering.Lock()
	defer l.entering.Unlock()
	if l.underWay[device]--; l.underWay[device] == 0 {
		delete(l.underWay, device)
	}
}

// admitBody reports whether a report beyond the rate is read. length is that of its body, negative
// if it is not known.
func (l *limits) admitBody(device deviceapi.Device, length int64, now time.Time) bool {
	if length < 0 {
		length = maxBody
	}
	pieces := int(min(length, maxResult) / bodyPiece)
	return pieces == 0 || l.bodies.TakeN(device, now, pieces)
}

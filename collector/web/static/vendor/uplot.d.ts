// What we use of the module.
export default class uPlot {
  constructor(options: any, data: any, element: Element);
  destroy(): void;
}
